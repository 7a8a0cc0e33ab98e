# holdfast-script: destroy-reference-point
# version: 1
# effect: changes
param($Arguments)
$scope = 'root/virtualization/v2'
$named = 'InstanceID = ' + (ConvertTo-Wql $Arguments.reference_point)
$point = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemReferencePoint -Filter $named
if (-not $point) { Stop-Script 'not_found' 'reference-point-missing' 'The reference point is not at this host.' }
$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemReferencePointService
$what = @{ AffectedReferencePoint = $point }
$got = Invoke-CimMethod -InputObject $service -MethodName DestroyReferencePoint -Arguments $what
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = @() }
