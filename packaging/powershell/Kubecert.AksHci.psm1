# The AKS Arc cmdlets for certificates, handed on to the program kubecert.
#
# UNTESTED: no PowerShell was available where this module was written. What was seen is that it parses (a test of the
# repository sees to that with an open-source grammar of PowerShell), and that the program understands what it hands on.
#
# It is not the vendor's module, and does what kubecert does: docs/aks-arc.md says what that is, and what is assumed.
# The program is the one that the environment variable KUBECERT names, or else `kubecert` in the path; the site file is the one
# that -Site or the environment variable KUBECERT_SITE names.

Set-StrictMode -Version Latest

function Invoke-Kubecert {
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)] [string] $Verb,
        [Parameter(Mandatory = $true)] [hashtable] $Bound
    )
    $program = 'kubecert'
    if ($env:KUBECERT) { $program = $env:KUBECERT }
    $words = @($Verb)
    # Only what means something outside of PowerShell; the rest PowerShell has done itself.
    $handed = @('Name', 'FixCloudCredentials', 'PatchLoadBalancer', 'FixKubeletCredentials', 'Force', 'SshPrivateKeyFile',
        'Site', 'Output', 'Verbose')
    foreach ($parameter in $Bound.Keys) {
        if ($handed -notcontains $parameter) { continue }
        $value = $Bound[$parameter]
        if ($value -is [System.Management.Automation.SwitchParameter]) {
            if ($value.IsPresent) { $words += "-$parameter" }
        } else {
            $words += "-$parameter"
            $words += [string] $value
        }
    }
    if ($WhatIfPreference) { $words += '-WhatIf' }
    # What the program prints is handed on as it is; what it says of errors stays on the error stream.
    & $program @words
    if ($LASTEXITCODE -ne 0) {
        Write-Error -Message "$Verb has failed (exit code $LASTEXITCODE); the lines above say what, where, and what to do."
    }
}

function Update-AksHciCertificates {
    [CmdletBinding(SupportsShouldProcess = $true)]
    param(
        [Parameter()] [switch] $Force,
        [Parameter()] [string] $Site,
        [Parameter()] [ValidateSet('text', 'json')] [string] $Output
    )
    if ($WhatIfPreference -or $PSCmdlet.ShouldProcess('the infrastructure credentials of the site', 'renew')) {
        Invoke-Kubecert -Verb 'Update-AksHciCertificates' -Bound $PSBoundParameters
    }
}

function Update-AksHciClusterCertificates {
    [CmdletBinding(SupportsShouldProcess = $true, DefaultParameterSetName = 'Cloud')]
    param(
        [Parameter(Mandatory = $true)] [string] $Name,
        [Parameter(Mandatory = $true, ParameterSetName = 'Cloud')] [switch] $FixCloudCredentials,
        [Parameter(ParameterSetName = 'Cloud')] [switch] $PatchLoadBalancer,
        [Parameter(Mandatory = $true, ParameterSetName = 'Kubelet')] [switch] $FixKubeletCredentials,
        [Parameter()] [switch] $Force,
        [Parameter()] [string] $Site,
        [Parameter()] [ValidateSet('text', 'json')] [string] $Output
    )
    if ($WhatIfPreference -or $PSCmdlet.ShouldProcess($Name, 'renew credentials')) {
        Invoke-Kubecert -Verb 'Update-AksHciClusterCertificates' -Bound $PSBoundParameters
    }
}

function Repair-AksHciCerts {
    [CmdletBinding(SupportsShouldProcess = $true)]
    param(
        [Parameter()] [string] $SshPrivateKeyFile,
        [Parameter()] [string] $Site,
        [Parameter()] [ValidateSet('text', 'json')] [string] $Output
    )
    if ($WhatIfPreference -or $PSCmdlet.ShouldProcess('the infrastructure credentials of the site', 'renew')) {
        Invoke-Kubecert -Verb 'Repair-AksHciCerts' -Bound $PSBoundParameters
    }
}

function Repair-AksHciClusterCerts {
    [CmdletBinding(SupportsShouldProcess = $true, DefaultParameterSetName = 'Cloud')]
    param(
        [Parameter(Mandatory = $true)] [string] $Name,
        [Parameter(Mandatory = $true, ParameterSetName = 'Cloud')] [switch] $FixCloudCredentials,
        [Parameter(Mandatory = $true, ParameterSetName = 'Kubelet')] [switch] $FixKubeletCredentials,
        [Parameter()] [string] $SshPrivateKeyFile,
        [Parameter()] [switch] $Force,
        [Parameter()] [string] $Site,
        [Parameter()] [ValidateSet('text', 'json')] [string] $Output
    )
    if ($WhatIfPreference -or $PSCmdlet.ShouldProcess($Name, 'renew credentials')) {
        Invoke-Kubecert -Verb 'Repair-AksHciClusterCerts' -Bound $PSBoundParameters
    }
}

function Invoke-AksHciRotateCACertificate {
    [CmdletBinding(SupportsShouldProcess = $true)]
    param(
        [Parameter()] [string] $Site,
        [Parameter()] [ValidateSet('text', 'json')] [string] $Output
    )
    if ($WhatIfPreference -or $PSCmdlet.ShouldProcess('the CA of the authority', 'replace')) {
        Invoke-Kubecert -Verb 'Invoke-AksHciRotateCACertificate' -Bound $PSBoundParameters
    }
}

Export-ModuleMember -Function @('Update-AksHciCertificates', 'Update-AksHciClusterCertificates', 'Repair-AksHciCerts',
    'Repair-AksHciClusterCerts', 'Invoke-AksHciRotateCACertificate')
