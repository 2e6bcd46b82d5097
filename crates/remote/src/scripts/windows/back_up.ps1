# Copies files to the run's backup directory, once. Input: the directory below the base; one path a line; a full stop.
$backup = [System.IO.Path]::Combine($base, (Read-Next))
try {
    New-OwnDirectory $backup
    while (($path = Read-Next) -ne '.') {
        if ($null -ne (Find-Backup $backup $path)) {
            continue
        }
        $target = Get-Link $path
        if ($null -ne $target) {
            Add-Index $backup 'link' $path $target
            Write-Log "backed up $path, a link to $target"
        } elseif (Test-Path -LiteralPath $path -PathType Leaf) {
            $copy = Get-Copy $backup $path
            New-OwnDirectory ([System.IO.Path]::GetDirectoryName($copy))
            Copy-Item -LiteralPath $path -Destination $copy -Force
            # A copy is open to those to whom its directory is open: the system and administrators.
            $stream = [System.IO.File]::Open($copy, 'Open', 'ReadWrite', 'None')
            try {
                $stream.Flush($true)
            } finally {
                $stream.Dispose()
            }
            Add-Index $backup 'file' $path (Get-Access $path)
            Write-Log "backed up $path to $copy"
        } else {
            Add-Index $backup 'absent' $path '-'
            Write-Log "recorded $path as absent"
        }
    }
} catch {
    Stop-Failed "cannot back up to $backup" $_
}
