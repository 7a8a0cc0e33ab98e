# holdfast-script: convert-to-reference-point
# version: 2
# effect: changes
param($Arguments)
$scope = 'root/virtualization/v2'
$named = 'InstanceID = ' + (ConvertTo-Wql ('Microsoft:' + $Arguments.checkpoint))
$checkpoint = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemSettingData -Filter $named
if (-not $checkpoint) { Stop-Script 'not_found' 'checkpoint-missing' 'The checkpoint is not at this host.' }

$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemSnapshotService
$what = @{ AffectedSnapshot = $checkpoint }
$got = Invoke-CimMethod -InputObject $service -MethodName ConvertToReferencePoint -Arguments $what
$made = @($got.ResultingReferencePoint.InstanceID | Where-Object { $_ })
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = $made }
