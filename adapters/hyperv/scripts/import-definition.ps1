# holdfast-script: import-definition
# version: 1
# effect: changes
param($Arguments)
$service = Get-CimInstance -Namespace root/virtualization/v2 -ClassName Msvm_VirtualSystemManagementService
$got = Invoke-CimMethod -InputObject $service -MethodName ImportSystemDefinition -Arguments @{
    SystemDefinitionFile = $Arguments.path
    SnapshotFolder = (Split-Path -Parent $Arguments.path)
    GenerateNewSystemIdentifier = $true
}
@{
    return_value = $got.ReturnValue
    job = $got.Job.InstanceID
    affected = @($got.ImportedSystem.Name | Where-Object { $_ })
}
