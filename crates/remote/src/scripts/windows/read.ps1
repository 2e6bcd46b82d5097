# Prints a file. Input: its path. The first line says whether there is one, the second is the content as base64.
$path = Read-Next
if (-not (Test-There $path)) {
    Say 'absent'
} else {
    try {
        $stream = [System.IO.File]::Open($path, 'Open', 'Read', 'ReadWrite, Delete')
        $content = New-Object System.IO.MemoryStream
        try {
            $stream.CopyTo($content)
        } finally {
            $stream.Dispose()
        }
    } catch {
        Stop-Failed "cannot read $path" $_
    }
    Write-Log "read $path"
    Say 'present'
    Say ([Convert]::ToBase64String($content.ToArray()))
}
