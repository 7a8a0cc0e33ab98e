# holdfast-script: cluster-groups
# version: 1
# effect: none
param($Arguments)
$these = 'Type = ''Virtual Machine'''
$found = @(Get-CimInstance -Namespace root/MSCluster -ClassName MSCluster_Resource -Filter $these)
$items = @(foreach ($one in $found) {
    @{ machine_id = $one.PrivateProperties.VmID; name = $one.OwnerGroup; owner = $one.OwnerNode }
})
@{ items = $items }
