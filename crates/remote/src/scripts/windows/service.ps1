# Restarting the service of a component.

# A task of the system that starts the service again if this script is cut off; a second time is as good as once.
function Set-Safety([string] $service, [int] $seconds) {
    $action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument "-NoProfile -NonInteractive -Command Start-Service $service"
    $trigger = New-ScheduledTaskTrigger -Once -At ((Get-Date).AddSeconds($seconds))
    Register-ScheduledTask -TaskName "kubecert-$service" -Action $action -Trigger $trigger -User 'S-1-5-18' -Force | Out-Null
    Write-Log "set a task that starts $service after $seconds s"
}
function Remove-Safety([string] $service) {
    Unregister-ScheduledTask -TaskName "kubecert-$service" -Confirm:$false -ErrorAction SilentlyContinue
}

function Get-Processes([string] $name) {
    return @(Get-Process -Name $name -ErrorAction SilentlyContinue)
}

# Stops a service with what depends on it, and sees its process end.
function Stop-Component([string] $service, [string] $name, [int] $seconds) {
    Stop-Service -Name $service -Force
    $limit = [DateTime]::UtcNow.AddSeconds($seconds)
    while (@(Get-Processes $name).Count -gt 0) {
        if ([DateTime]::UtcNow -gt $limit) {
            # The service's wrapper has let go of it; nothing else ends it.
            Stop-Process -Name $name -Force
            Write-Log "ended $name, which had outlived its service"
            Start-Sleep -Milliseconds 500
            break
        }
        Start-Sleep -Milliseconds 200
    }
    Write-Log "stopped $service"
}

# Starts a service. Gives the process when one runs, and, where $made is given, that file is there again; nothing if that does
# not come to be in time.
function Start-Component([string] $service, [string] $name, [string] $made, [int] $seconds) {
    try {
        Start-Service -Name $service
    } catch {
        Write-Log "$service does not start: $($_.Exception.Message)"
        return $null
    }
    Write-Log "started $service"
    return Wait-Component $name $made $seconds
}

function Wait-Component([string] $name, [string] $made, [int] $seconds) {
    $limit = [DateTime]::UtcNow.AddSeconds($seconds)
    while ([DateTime]::UtcNow -lt $limit) {
        $found = @(Get-Processes $name | Sort-Object -Property StartTime)
        if ($found.Count -gt 0 -and (-not $made -or (Test-Path -LiteralPath $made))) {
            return $found[$found.Count - 1]
        }
        Start-Sleep -Milliseconds 200
    }
    return $null
}

# kubeletstart.ps1 starts kube-proxy's service; where it has not, it is started here.
function Start-Proxy([int] $seconds) {
    $proxy = Get-Service -Name 'kubeproxy' -ErrorAction SilentlyContinue
    if ($null -eq $proxy) {
        return
    }
    $limit = [DateTime]::UtcNow.AddSeconds($seconds)
    while ((Get-Service -Name 'kubeproxy').Status -ne 'Running') {
        if ([DateTime]::UtcNow -gt $limit) {
            Start-Service -Name 'kubeproxy'
            Write-Log 'started kubeproxy'
            return
        }
        Start-Sleep -Milliseconds 500
    }
}

# Prints the line that the other side reads.
function Say-Process($process) {
    $start = [long] [Math]::Floor((Get-Ticks $process.StartTime.ToUniversalTime()) / 100000)
    Say "process $($process.Id) $start"
}
