# A run's backup: copies below one directory, and an index that says of each path what there was. A line of the index is
# written when its copy is whole, so that a half copy counts for nothing.

function Get-Index([string] $backup) {
    return [System.IO.Path]::Combine($backup, 'index')
}

# Where the copy of $path goes: the drive becomes a directory.
function Get-Copy([string] $backup, [string] $path) {
    return [System.IO.Path]::Combine($backup, $path.Substring(0, 1) + $path.Substring(2))
}

# What a backup holds of $path; nothing if it was not backed up.
function Find-Backup([string] $backup, [string] $path) {
    $index = Get-Index $backup
    if (-not (Test-Path -LiteralPath $index)) {
        return $null
    }
    foreach ($line in [System.IO.File]::ReadAllLines($index, $utf8)) {
        # Kind, path, and the access list of a file or the target of a link; a line that was cut off has fewer fields.
        $fields = $line.Split("`t")
        if ($fields.Count -eq 4 -and $fields[3] -eq '.' -and $fields[1] -eq $path) {
            return New-Object PSObject -Property @{
                Kind = $fields[0]; Copy = (Get-Copy $backup $path); Detail = $fields[2]
            }
        }
    }
    return $null
}

function Add-Index([string] $backup, [string] $kind, [string] $path, [string] $detail) {
    $bytes = $utf8.GetBytes("`n$kind`t$path`t$detail`t.`n")
    $stream = [System.IO.File]::Open((Get-Index $backup), 'Append', 'Write', 'Read')
    try {
        $stream.Write($bytes, 0, $bytes.Length)
        $stream.Flush($true)
    } finally {
        $stream.Dispose()
    }
}
