# Tells the latest run that has a backup here, and what it backed up: its name begins with the time of the run.
if (Test-Path -LiteralPath $base) {
    $runs = Get-ChildItem -LiteralPath $base -Directory -Force | Sort-Object -Property Name
    $latest = $null
    foreach ($run in $runs) {
        $index = [System.IO.Path]::Combine($run.FullName, 'backup', 'index')
        if (Test-Path -LiteralPath $index) {
            $latest = $run.Name
        }
    }
    if ($null -ne $latest) {
        Say $latest
    }
}
