# Writing files, each atomically, and all of them together or none: everything is made ready beside its place first, and
# Complete-Files only puts it there. A full disk or a connection that breaks on the way leaves no key without its
# certificate.

# What is ready and not in its place yet.
$pending = New-Object System.Collections.ArrayList

function Remove-Pending {
    foreach ($one in $pending) {
        if ($one.Temporary) {
            Remove-Item -LiteralPath $one.Temporary -Force -ErrorAction SilentlyContinue
        }
    }
}

# Makes a file beside $path that holds $bytes: empty first, then with its access list, and only then with its content,
# which is on the disk before this returns.
function New-Temporary([string] $path, [byte[]] $bytes, [string] $sddl) {
    $directory = [System.IO.Path]::GetDirectoryName($path)
    $temporary = [System.IO.Path]::Combine($directory, '.kubecert.' + [Guid]::NewGuid().ToString('N'))
    $entry = New-Object PSObject -Property @{
        Temporary = $temporary; Path = $path; Access = $sddl; Link = $null; Note = ''
    }
    $pending.Add($entry) | Out-Null
    [System.IO.File]::Open($temporary, 'CreateNew', 'Write', 'None').Dispose()
    Set-Access $temporary $sddl
    $stream = [System.IO.File]::Open($temporary, 'Open', 'Write', 'None')
    try {
        $stream.Write($bytes, 0, $bytes.Length)
        $stream.Flush($true)
    } finally {
        $stream.Dispose()
    }
    return $entry
}

# Puts everything that is ready in its place.
function Complete-Files {
    foreach ($one in $pending) {
        try {
            if ($null -ne $one.Link) {
                # Nothing replaces a link in one go; its reader starts after this and finds the new one.
                if (Test-There $one.Path) {
                    Remove-Item -LiteralPath $one.Path -Force
                }
                New-Item -ItemType SymbolicLink -Path $one.Path -Target $one.Link | Out-Null
            } elseif (-not $one.Temporary) {
                Remove-Item -LiteralPath $one.Path -Force
            } elseif (Test-Path -LiteralPath $one.Path) {
                # A file that replaces another takes over the access list of that one.
                Set-Access $one.Path $one.Access
                [System.IO.File]::Replace($one.Temporary, $one.Path, [NullString]::Value, $true)
                Set-Access $one.Path $one.Access
                [System.IO.File]::SetLastWriteTimeUtc($one.Path, [DateTime]::UtcNow)
            } else {
                [System.IO.File]::Move($one.Temporary, $one.Path)
                [System.IO.File]::SetLastWriteTimeUtc($one.Path, [DateTime]::UtcNow)
            }
        } catch {
            $record = $_
            Remove-Pending
            Stop-Failed "cannot put $($one.Path) in its place" $record
        }
        Write-Log $one.Note
    }
    $pending.Clear()
}

# A regular file: $access is "private", or "keep" for the access list of the file that is there. Returns its state.
function Write-Bytes([string] $path, [string] $access, [byte[]] $bytes, [string] $wanted) {
    $there = Test-Path -LiteralPath $path -PathType Leaf
    if ($access -eq 'keep') {
        if (-not $there) {
            Stop-Act $badInput "$path does not exist and no access list is given for it"
        }
        $sddl = Get-Access $path
    } else {
        $sddl = $privateFile
    }
    if ($there -and $null -eq (Get-Link $path) -and (Get-Digest $path) -eq $wanted) {
        if ($access -eq 'private') {
            Set-Access $path $sddl
        }
        return 'unchanged'
    }
    $entry = New-Temporary $path $bytes $sddl
    if ((Get-Digest $entry.Temporary) -ne $wanted) {
        Remove-Pending
        Stop-Act $badInput "the content of $path was changed on the way"
    }
    $entry.Note = "wrote $path ($access, $($bytes.Length) bytes)"
    return 'written'
}

# What the run's backup holds of $path. What was recorded as absent is removed. Returns its state.
function Write-Original([string] $path, [string] $backup) {
    $kept = Find-Backup $backup $path
    if ($null -eq $kept) {
        Stop-Act $badInput "there is no backup of $path in $backup"
    }
    if ($kept.Kind -eq 'absent') {
        if (-not (Test-There $path)) {
            return 'unchanged'
        }
        $gone = New-Object PSObject -Property @{
            Temporary = ''; Path = $path; Access = ''; Link = $null; Note = "removed $path, which did not exist before the run"
        }
        $pending.Add($gone) | Out-Null
        return 'written'
    }
    if ($kept.Kind -eq 'link') {
        if ((Get-Link $path) -eq $kept.Detail) {
            return 'unchanged'
        }
        $link = New-Object PSObject -Property @{
            Temporary = ''; Path = $path; Access = ''; Link = $kept.Detail; Note = "linked $path to $($kept.Detail)"
        }
        $pending.Add($link) | Out-Null
        return 'written'
    }
    $there = Test-Path -LiteralPath $path -PathType Leaf
    if ($there -and (Get-Digest $path) -eq (Get-Digest $kept.Copy) -and (Get-Access $path) -eq $kept.Detail) {
        return 'unchanged'
    }
    $entry = New-Temporary $path ([System.IO.File]::ReadAllBytes($kept.Copy)) $kept.Detail
    $entry.Note = "restored $path from $backup"
    return 'written'
}
