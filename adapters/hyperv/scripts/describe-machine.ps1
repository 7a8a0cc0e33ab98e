# holdfast-script: describe-machine
# version: 2
# effect: changes
param($Arguments)
$scope = 'root\virtualization\v2'
$named = 'InstanceID = ' + (ConvertTo-Wql ('Microsoft:' + $Arguments.machine))
$machine = Get-WmiObject Msvm_VirtualSystemSettingData -Namespace $scope -Filter $named
if (-not $machine) { Stop-Script 'not_found' 'machine-missing' 'The machine is not at this host.' }
$machine.ElementName = $Arguments.name
$machine.Notes = [string[]]@($Arguments.notes)
if ($Arguments.folder) {
    $machine.ConfigurationDataRoot = $Arguments.folder
    $machine.SnapshotDataRoot = $Arguments.folder
    $machine.SwapFileDataRoot = $Arguments.folder
    $machine.GuestStateDataRoot = $Arguments.folder
}
$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemManagementService
$settings = @{ SystemSettings = $machine.GetText(1) }
$got = Invoke-CimMethod -InputObject $service -MethodName ModifySystemSettings -Arguments $settings
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = @() }
