# holdfast-script: remove-disk
# version: 1
# effect: changes
param($Arguments)
# Takes the file out of its drive, which stays; a disk of the host is a drive itself.
$scope = 'root/virtualization/v2'
$id = 'Microsoft:' + $Arguments.machine + '\' + $Arguments.place.Replace('/', '\') + '\'
$named = 'InstanceID = ' + (ConvertTo-Wql ($id + 'L'))
$disk = Get-CimInstance -Namespace $scope -ClassName Msvm_StorageAllocationSettingData -Filter $named
if (-not $disk) {
    $named = 'InstanceID = ' + (ConvertTo-Wql ($id + 'D'))
    $disk = Get-CimInstance -Namespace $scope -ClassName Msvm_ResourceAllocationSettingData -Filter $named
}
if (-not $disk) { Stop-Script 'not_found' 'disk-missing' 'The machine has no such disk.' }
$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemManagementService
$what = @{ ResourceSettings = [ciminstance[]]@($disk) }
$got = Invoke-CimMethod -InputObject $service -MethodName RemoveResourceSettings -Arguments $what
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = @() }
