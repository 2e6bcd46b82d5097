# Looks at the node and changes nothing. Input: lines "path P", "text P", "component C", "tool T", and at the end a full
# stop. The answer is that of look.sh: one line a fact, the clock first.
Say "clock $(Get-Seconds ([DateTime]::UtcNow))"
Say "hostname $([System.Net.Dns]::GetHostName().ToLowerInvariant())"
Say "free $((New-Object System.IO.DriveInfo('c')).AvailableFreeSpace)"

$files = New-Object System.Collections.ArrayList
$texts = New-Object System.Collections.ArrayList
$components = New-Object System.Collections.ArrayList
$tools = New-Object System.Collections.ArrayList
while (($question = Read-Next) -ne '.') {
    $kind, $rest = $question.Split(' ', 2)
    switch ($kind) {
        'path' {
            if (Test-Path -LiteralPath $rest -PathType Container) {
                foreach ($item in Get-ChildItem -LiteralPath $rest -File -Force) {
                    $files.Add([System.IO.Path]::Combine($rest, $item.Name)) | Out-Null
                }
            } elseif (Test-Path -LiteralPath $rest) {
                $files.Add($rest) | Out-Null
            }
        }
        'text' { $texts.Add($rest) | Out-Null }
        'component' { $components.Add($rest) | Out-Null }
        'tool' { $tools.Add($rest) | Out-Null }
        default { Stop-Act $badInput "unknown question: $kind" }
    }
}

# Whole certificates only, and nothing else: not a line of a private key leaves the node, whatever the file holds.
$pem = '-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----[^-]+-----END (X509 |TRUSTED )?CERTIFICATE-----'
$data = '(certificate-authority|client-certificate)-data"? *: *"?([A-Za-z0-9+/=]+)'
foreach ($path in ($files | Select-Object -Unique)) {
    # A file may vanish while we look (kubelets replace their own); then it is one that does not exist.
    try {
        $item = Get-Item -LiteralPath $path -Force
        $target = Get-Link $path
        $real = $path
        if ($null -ne $target) {
            $real = [System.IO.Path]::Combine([System.IO.Path]::GetDirectoryName($path), $target)
        }
        $acl = Get-Acl -LiteralPath $real
        $sections = [System.Security.AccessControl.AccessControlSections]::Access
        # No bits for others where nobody but the system and administrators may do anything.
        $others = @($acl.GetAccessRules($true, $true, [System.Security.Principal.SecurityIdentifier]) |
            Where-Object { @('S-1-5-18', 'S-1-5-32-544') -notcontains $_.IdentityReference.Value })
        $mode = '644'
        if ($others.Count -eq 0) {
            $mode = '600'
        }
        $owner = $acl.GetOwner([System.Security.Principal.SecurityIdentifier]).Value
        $group = $acl.GetGroup([System.Security.Principal.SecurityIdentifier]).Value
        $changed = Get-Seconds ([System.IO.File]::GetLastWriteTimeUtc($real))
        $digest = Get-Digest $real
        $stream = [System.IO.File]::Open($real, 'Open', 'Read', 'ReadWrite, Delete')
        try {
            $reader = New-Object System.IO.StreamReader($stream, $utf8)
            $text = $reader.ReadToEnd()
        } finally {
            $stream.Dispose()
        }
    } catch {
        continue
    }
    Say "file $mode ${owner}:$group $changed $path"
    Say "sum $digest  $path"
    if ($null -ne $target) {
        Say "link $(Get-Seconds $item.LastWriteTimeUtc) $path"
        Say $target
    }
    foreach ($match in [regex]::Matches($text, $pem)) {
        Say "pem $path"
        Say ('|' + [string]::Join('|', @($match.Value -split '\s*\n\s*')))
    }
    foreach ($match in [regex]::Matches($text, $data)) {
        Say "data $path"
        Say $match.Groups[2].Value
    }
    if ($texts.Contains($path)) {
        Say "text $path"
        Say ([Convert]::ToBase64String($utf8.GetBytes($text)))
    }
}

foreach ($component in $components) {
    foreach ($process in @(Get-Process -Name $component -ErrorAction SilentlyContinue)) {
        $start = [long] [Math]::Floor((Get-Ticks $process.StartTime.ToUniversalTime()) / 100000)
        Say "process $component $($process.Id) $start"
    }
}
foreach ($tool in $tools) {
    # The only tools asked for are services.
    if ($null -eq (Get-Service -Name $tool -ErrorAction SilentlyContinue)) {
        Say "missing $tool"
    }
}
Say 'end'
