# holdfast-script: set-disk-path
# version: 2
# effect: changes
param($Arguments)
$scope = 'root\virtualization\v2'
$id = 'Microsoft:' + $Arguments.machine + '\' + $Arguments.place.Replace('/', '\') + '\L'
$named = 'InstanceID = ' + (ConvertTo-Wql $id)
$disk = Get-WmiObject Msvm_StorageAllocationSettingData -Namespace $scope -Filter $named
if (-not $disk) { Stop-Script 'not_found' 'disk-missing' 'The machine has no such disk.' }
$disk.HostResource = [string[]]@($Arguments.path)
$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemManagementService
$settings = @{ ResourceSettings = [string[]]@($disk.GetText(1)) }
$got = Invoke-CimMethod -InputObject $service -MethodName ModifyResourceSettings -Arguments $settings
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = @() }
