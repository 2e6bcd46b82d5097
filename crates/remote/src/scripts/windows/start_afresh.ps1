# Stops a service, removes what its process makes anew when it starts without, starts it again, and waits until the first of
# what was removed is there again. Where that does not come to be, AKS engine's own script resets the node, as the ancestor
# does in any case. Input: as restart_unit.ps1, then one path a line, then a full stop.
$service = Read-Next
$name = Read-Next
$goodbye = [int] (Read-Next)
$patience = [int] (Read-Next)
$expires = [int] (Read-Next)
$reset = 'c:\k\windowsnodereset.ps1'
$way = 'restarted'
try {
    $forget = New-Object System.Collections.ArrayList
    while (($path = Read-Next) -ne '.') {
        $forget.Add($path) | Out-Null
    }
    Set-Safety $service $expires
    Stop-Component $service $name $goodbye
    foreach ($path in $forget) {
        if (Test-There $path) {
            Remove-Item -LiteralPath $path -Force
            Write-Log "removed $path"
        }
    }
    $process = Start-Component $service $name $forget[0] $patience
    if ($null -eq $process -and (Test-Path -LiteralPath $reset)) {
        Write-Log "$name has not made $($forget[0]) within $patience s; resetting the node"
        $way = 'node-reset'
        $child = Start-Process -FilePath 'powershell.exe' -ArgumentList '-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File', $reset -WindowStyle Hidden -PassThru
        if (-not $child.WaitForExit($patience * 1000)) {
            $child.Kill()
            Write-Log "ended $reset, which took more than $patience s"
        }
        $process = Wait-Component $name $forget[0] $patience
    }
    if ($null -eq $process) {
        Stop-Act $tooLate "$name has not made $($forget[0]); see c:\k\kubelet.err.log and c:\k\windowsnodereset.log"
    }
    Start-Proxy $goodbye
    Remove-Safety $service
} catch {
    Stop-Failed "cannot start $service afresh" $_
}
Say "way $way"
Say-Process $process
