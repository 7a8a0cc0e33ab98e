# holdfast-script: destroy-checkpoint
# version: 1
# effect: changes
param($Arguments)
$scope = 'root/virtualization/v2'
$named = 'InstanceID = ' + (ConvertTo-Wql ('Microsoft:' + $Arguments.checkpoint))
$checkpoint = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemSettingData -Filter $named
if (-not $checkpoint) { Stop-Script 'not_found' 'checkpoint-missing' 'The checkpoint is not at this host.' }

$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemSnapshotService
$what = @{ AffectedSnapshot = $checkpoint }
$got = Invoke-CimMethod -InputObject $service -MethodName DestroySnapshot -Arguments $what
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = @() }
