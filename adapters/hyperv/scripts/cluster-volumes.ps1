# holdfast-script: cluster-volumes
# version: 1
# effect: none
param($Arguments)
$volumes = @(Get-CimInstance -Namespace root/MSCluster -ClassName MSCluster_ClusterSharedVolume)
$items = @(foreach ($volume in $volumes) {
    $disk = @(Get-CimAssociatedInstance -InputObject $volume -Association MSCluster_ClusterSharedVolumeToResource)[0]
    @{ name = $disk.Name; path = $volume.Name; owner = $disk.OwnerNode }
})
@{ items = $items }
