# What every operation on a Windows node begins with. Windows PowerShell 5.1 runs it, and PowerShell 7.
#
# $act (the operation's name) and $lines (what follows this text on standard input) are there already; see exec.rs. What goes
# either way is ASCII: lists as they are, contents as base64.
Set-StrictMode -Version 2.0
$utf8 = New-Object System.Text.UTF8Encoding($false)
$base = 'c:\k\kubecert'
$logFile = 'c:\k\rotate-certs.log'
$epochTicks = 621355968000000000
# The system and administrators, and nobody else; for a directory the same with all that is made in it.
$privateFile = 'D:P(A;;FA;;;SY)(A;;FA;;;BA)'
$privateDirectory = 'D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)'
$at = 0

# Exit codes that the other side tells apart; see exec.rs.
$badInput = 64
$noSpace = 65
$tooLate = 67
$impossible = 68

# Writes a line to a standard stream, past every encoding of the console.
function Write-Stream($stream, [string] $line) {
    $bytes = $utf8.GetBytes($line + "`n")
    $stream.Write($bytes, 0, $bytes.Length)
    $stream.Flush()
}
function Say([string] $line) {
    Write-Stream ([Console]::OpenStandardOutput()) $line
}
function Stop-Act([int] $code, [string] $why) {
    Write-Stream ([Console]::OpenStandardError()) $why
    exit $code
}

# Appends a line to the node's log. A log that cannot be written must not stop a rotation half-way.
function Write-Log([string] $text) {
    $now = [DateTime]::UtcNow.ToString('yyyy-MM-ddTHH:mm:ss.fffZ')
    try {
        [System.IO.File]::AppendAllText($logFile, "$now kubecert ${act}: $text`r`n", $utf8)
    } catch {
        return
    }
}

# The next line of what was sent.
function Read-Next {
    if ($script:at -ge $lines.Count) {
        Stop-Act $badInput 'what was sent was cut off on the way'
    }
    $line = $lines[$script:at]
    $script:at += 1
    return $line
}

# Says why something failed, and ends. 0x70 and 0x27 are the two ways in which Windows says that a disk is full.
function Stop-Failed([string] $subject, $record) {
    $exception = $record.Exception
    while ($null -ne $exception.InnerException) {
        $exception = $exception.InnerException
    }
    $code = $impossible
    $low = $exception.HResult -band 0xffff
    if ($low -eq 0x70 -or $low -eq 0x27) {
        $code = $noSpace
    }
    Stop-Act $code "${subject}: $($exception.Message)"
}

function Get-Digest([string] $path) {
    $hash = [System.Security.Cryptography.SHA256]::Create()
    $stream = [System.IO.File]::Open($path, 'Open', 'Read', 'ReadWrite, Delete')
    try {
        return [BitConverter]::ToString($hash.ComputeHash($stream)).Replace('-', '').ToLowerInvariant()
    } finally {
        $stream.Dispose()
        $hash.Dispose()
    }
}

# Hundreds of nanoseconds since 1970 of a time in UTC.
function Get-Ticks([DateTime] $time) {
    return $time.Ticks - $epochTicks
}

# The same as seconds with a fraction.
function Get-Seconds([DateTime] $time) {
    $ticks = Get-Ticks $time
    $fraction = $ticks % 10000000
    $whole = [long] (($ticks - $fraction) / 10000000)
    return '{0}.{1:d7}' -f $whole, $fraction
}

# The link at a path; nothing if it is none, or nothing is there.
function Get-Link([string] $path) {
    $item = Get-Item -LiteralPath $path -Force -ErrorAction SilentlyContinue
    if ($null -eq $item -or -not ($item.Attributes -band [System.IO.FileAttributes]::ReparsePoint)) {
        return $null
    }
    return [string] @($item.Target)[0]
}

# Whether something is at a path, be it a link that leads nowhere.
function Test-There([string] $path) {
    return (Test-Path -LiteralPath $path) -or ($null -ne (Get-Link $path))
}

# Who may do what with a file, as text.
function Get-Access([string] $path) {
    $sections = [System.Security.AccessControl.AccessControlSections]::Access
    return (Get-Acl -LiteralPath $path).GetSecurityDescriptorSddlForm($sections)
}

function Set-Access([string] $path, [string] $sddl) {
    $acl = Get-Acl -LiteralPath $path
    $sections = [System.Security.AccessControl.AccessControlSections]::Access
    $acl.SetSecurityDescriptorSddlForm($sddl, $sections)
    Set-Acl -LiteralPath $path -AclObject $acl
}

# Makes a directory below kubecert's own, which is closed to others before anything is in it.
function New-OwnDirectory([string] $path) {
    if (-not (Test-Path -LiteralPath $base)) {
        New-Item -ItemType Directory -Path $base -Force | Out-Null
        Set-Access $base $privateDirectory
    }
    New-Item -ItemType Directory -Path $path -Force | Out-Null
}
