# Writes files in order. Input: the run's backup directory below the base; for each file a line "bytes ACCESS DIGEST" or
# "original", a line with its path, and for bytes a line with the content as base64; at the end a full stop, without which the
# stream was cut off.
$backup = [System.IO.Path]::Combine($base, (Read-Next))
$done = New-Object System.Collections.ArrayList
try {
    while (($header = Read-Next) -ne '.') {
        $fields = $header.Split(' ')
        $path = Read-Next
        switch ($fields[0]) {
            'bytes' {
                $bytes = [Convert]::FromBase64String((Read-Next))
                $state = Write-Bytes $path $fields[1] $bytes $fields[2]
            }
            'original' {
                $state = Write-Original $path $backup
            }
            default {
                Remove-Pending
                Stop-Act $badInput "unknown kind of file: $($fields[0])"
            }
        }
        $done.Add(@($state, $path)) | Out-Null
    }
} catch {
    $record = $_
    Remove-Pending
    Stop-Failed 'cannot make the files ready' $record
}
Complete-Files
foreach ($one in $done) {
    $digest = '-'
    if (Test-Path -LiteralPath $one[1] -PathType Leaf) {
        $digest = Get-Digest $one[1]
    }
    Say "$($one[0]) $digest $($one[1])"
}
