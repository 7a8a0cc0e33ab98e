# holdfast-script: disconnect-networks
# version: 1
# effect: changes
param($Arguments)
$scope = 'root\virtualization\v2'
$prefix = 'Microsoft:' + $Arguments.machine
$ports = @(Get-WmiObject Msvm_EthernetPortAllocationSettingData -Namespace $scope | Where-Object {
    $_.InstanceID.StartsWith($prefix, [StringComparison]::OrdinalIgnoreCase)
})
$texts = @(foreach ($port in $ports) {
    $port.EnabledState = 3
    $port.GetText(1)
})
$got = @{ ReturnValue = 0 }
if ($texts.Count) {
    $service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemManagementService
    $settings = @{ ResourceSettings = [string[]]$texts }
    $got = Invoke-CimMethod -InputObject $service -MethodName ModifyResourceSettings -Arguments $settings
}
@{ return_value = $got.ReturnValue; job = $got.Job.InstanceID; affected = @() }
