# UNTESTED with PowerShell; see the head of Kubecert.AksHci.psm1.
@{
    RootModule        = 'Kubecert.AksHci.psm1'
    ModuleVersion     = '0.1.0'
    GUID              = '6f0e4c1b-9a57-4f0f-8a39-2b7d5f1c0e63'
    Author            = 'The maintainers of kubecert'
    Description       = 'The AKS Arc cmdlets for certificates, handed on to the program kubecert. Not the vendor''s module.'
    PowerShellVersion = '5.1'
    FunctionsToExport = @(
        'Update-AksHciCertificates',
        'Update-AksHciClusterCertificates',
        'Repair-AksHciCerts',
        'Repair-AksHciClusterCerts',
        'Invoke-AksHciRotateCACertificate'
    )
    CmdletsToExport   = @()
    VariablesToExport = @()
    AliasesToExport   = @()
}
