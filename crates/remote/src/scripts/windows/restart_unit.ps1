# Restarts a service and waits for the process of its component. Input: service, process, seconds for its end, seconds for
# its start, seconds after which it is started in any case.
$service = Read-Next
$name = Read-Next
$goodbye = [int] (Read-Next)
$patience = [int] (Read-Next)
$expires = [int] (Read-Next)
try {
    Set-Safety $service $expires
    Stop-Component $service $name $goodbye
    $process = Start-Component $service $name '' $patience
    if ($null -eq $process) {
        Stop-Act $tooLate "no process $name appeared within $patience s"
    }
    Start-Proxy $goodbye
    Remove-Safety $service
} catch {
    Stop-Failed "cannot restart $service" $_
}
Say-Process $process
