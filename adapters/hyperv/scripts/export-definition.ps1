# holdfast-script: export-definition
# version: 1
# effect: changes
param($Arguments)
$scope = 'root\virtualization\v2'
$named = 'Name = ' + (ConvertTo-Wql $Arguments.machine)
$machine = Get-WmiObject Msvm_ComputerSystem -Namespace $scope -Filter $named
if (-not $machine) { Stop-Script 'not_found' 'machine-missing' 'The machine is not at this host.' }
$of = 'InstanceID = ' + (ConvertTo-Wql ('Microsoft:' + $Arguments.checkpoint))
$checkpoint = Get-WmiObject Msvm_VirtualSystemSettingData -Namespace $scope -Filter $of
if (-not $checkpoint) { Stop-Script 'not_found' 'checkpoint-missing' 'The checkpoint is not at this host.' }
$settings = @($machine.GetRelated('Msvm_VirtualSystemExportSettingData'))[0]
$settings.CopySnapshotConfiguration = 3
$settings.SnapshotVirtualSystem = $checkpoint.__PATH
$settings.CopyVmStorage = $false
$settings.CopyVmRuntimeInformation = $false
$settings.CreateVmExportSubdirectory = $false
$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemManagementService
$same = Get-CimInstance -Namespace $scope -ClassName Msvm_ComputerSystem -Filter $named
$got = Invoke-CimMethod -InputObject $service -MethodName ExportSystemDefinition -Arguments @{
    ComputerSystem = $same; ExportDirectory = $Arguments.folder; ExportSettingData = $settings.GetText(1)
}
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = @() }
