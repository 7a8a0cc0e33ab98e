# holdfast-script: job
# version: 2
# effect: none
param($Arguments)
$named = 'InstanceID = ' + (ConvertTo-Wql $Arguments.job)
$job = Get-CimInstance -Namespace root/virtualization/v2 -ClassName CIM_ConcreteJob -Filter $named
if (-not $job) { Stop-Script 'not_found' 'job-missing' 'The host does not know the job.' }
$words = @{ 7 = 'done'; 8 = 'cancelled'; 9 = 'cancelled'; 10 = 'failed'; 11 = 'failed'; 32768 = 'done' }
$state = $words[[int]$job.JobState]
if (-not $state) { $state = 'running' }
$errors = @()
if ($state -eq 'failed') {
    # Not every kind of job has the method; its own description is told anyway.
    try {
        $got = Invoke-CimMethod -InputObject $job -MethodName GetErrorEx
        $errors = @(foreach ($text in @($got.Errors)) {
            ([xml]$text).INSTANCE.PROPERTY | Where-Object { $_.NAME -eq 'Message' } | ForEach-Object { [string]$_.VALUE }
        })
    } catch {
        $errors = @()
    }
}
$affected = @()
if ($state -eq 'done') {
    # A job affects its machine, too: what it made is the first of these that it has.
    $all = @(Get-CimAssociatedInstance -InputObject $job -Association Msvm_AffectedJobElement)
    foreach ($kind in 'Msvm_VirtualSystemReferencePoint', 'Msvm_VirtualSystemSettingData',
        'Msvm_PlannedComputerSystem', 'Msvm_ComputerSystem') {
        $these = @($all | Where-Object { $_.CimClass.CimClassName -eq $kind })
        if (-not $these.Count) { continue }
        $affected = @(foreach ($one in $these) {
            if ($kind -eq 'Msvm_VirtualSystemReferencePoint') { $one.InstanceID }
            elseif ($kind -eq 'Msvm_VirtualSystemSettingData') { $one.InstanceID.Substring(10) }
            else { $one.Name }
        })
        break
    }
}
@{
    id = $job.InstanceID
    state = $state
    percent = [int]$job.PercentComplete
    error_code = if ($state -eq 'failed') { [int]$job.ErrorCode } else { 0 }
    error = if ($state -eq 'failed') { [string]$job.ErrorDescription } else { '' }
    errors = $errors
    affected = $affected
}
