# holdfast-script: rename-checkpoint
# version: 2
# effect: changes
param($Arguments)
$scope = 'root\virtualization\v2'
$named = 'InstanceID = ' + (ConvertTo-Wql ('Microsoft:' + $Arguments.checkpoint))
$checkpoint = Get-WmiObject Msvm_VirtualSystemSettingData -Namespace $scope -Filter $named
if (-not $checkpoint) { Stop-Script 'not_found' 'checkpoint-missing' 'The checkpoint is not at this host.' }
$checkpoint.ElementName = $Arguments.name
$checkpoint.Notes = [string[]]@($Arguments.notes)
$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemManagementService
$settings = @{ SystemSettings = $checkpoint.GetText(1) }
$got = Invoke-CimMethod -InputObject $service -MethodName ModifySystemSettings -Arguments $settings
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = @() }
