# holdfast-script: about
# version: 2
# effect: none
param($Arguments)
$scope = 'root/virtualization/v2'
$system = Get-CimInstance -ClassName Win32_OperatingSystem
$service = Get-CimInstance -Namespace $scope -ClassName Msvm_VirtualSystemManagementServiceSettingData
# A user without rights in Hyper-V is refused nothing: WMI just shows no objects.
if (-not $service) { Stop-Script 'denied' 'access-refused' 'Hyper-V shows this user nothing.' }
$points = Get-CimClass -Namespace $scope -ClassName Msvm_VirtualSystemReferencePointService -ErrorAction SilentlyContinue
@{
    name = $env:COMPUTERNAME
    product = $system.Caption
    version = $system.Version
    change_tracking = ($null -ne $points)
    machine_folder = $service.DefaultExternalDataRoot
    now = [DateTime]::UtcNow.ToString('o')
}
