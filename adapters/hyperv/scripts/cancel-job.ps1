# holdfast-script: cancel-job
# version: 1
# effect: changes
param($Arguments)
$named = 'InstanceID = ' + (ConvertTo-Wql $Arguments.job)
$job = Get-CimInstance -Namespace root/virtualization/v2 -ClassName CIM_ConcreteJob -Filter $named
if (-not $job) { Stop-Script 'not_found' 'job-missing' 'The host does not know the job.' }
$got = Invoke-CimMethod -InputObject $job -MethodName RequestStateChange -Arguments @{ RequestedState = [uint16]4 }
@{ return_value = [long]$got.ReturnValue }
