# Removes files and directories. Input: one path a line; a full stop.
try {
    while (($path = Read-Next) -ne '.') {
        if (Test-There $path) {
            Remove-Item -LiteralPath $path -Recurse -Force
            Write-Log "removed $path"
        }
    }
} catch {
    Stop-Failed 'cannot remove' $_
}
