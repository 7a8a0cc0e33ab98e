# holdfast-script: about
# version: 1
# effect: none
param($Arguments)
$scope = 'root/virtualization/v2'
$system = Get-CimInstance -ClassName Win32_OperatingSystem
$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemManagementServiceSettingData
$points = Get-CimClass -Namespace $scope -ClassName Msvm_VirtualSystemReferencePointService -ErrorAction SilentlyContinue
@{
    name = $env:COMPUTERNAME
    product = $system.Caption
    version = $system.Version
    change_tracking = ($null -ne $points)
    machine_folder = $service.DefaultExternalDataRoot
    now = [DateTime]::UtcNow.ToString('o')
}
