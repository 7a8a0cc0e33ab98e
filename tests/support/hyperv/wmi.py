"""What `root/virtualization/v2` and `root/MSCluster` have, as far as our scripts use it. Facts, not a simulator.

Names are those of Microsoft's documentation and of the classes in github.com/microsoft/wmi (server2019), inherited
properties included. A class that is not here, or a name that its class lacks here, is one that nobody has looked up.
"""

from __future__ import annotations

PROPERTIES: dict[str, frozenset[str]] = {
    name: frozenset(properties.split())
    for name, properties in {
        "CIM_ComputerSystem": "Name",
        "CIM_ConcreteJob": "InstanceID JobState PercentComplete ErrorCode ErrorDescription",
        "MSCluster_ClusterSharedVolume": "Name",
        "MSCluster_Node": "Name State",
        "MSCluster_Resource": "Name Type OwnerGroup OwnerNode PrivateProperties",
        "Msvm_ComputerSystem": "Name EnabledState",
        "Msvm_EthernetPortAllocationSettingData": "InstanceID EnabledState",
        "Msvm_ImageManagementService": "",
        "Msvm_PlannedComputerSystem": "Name",
        "Msvm_ResourceAllocationSettingData": "InstanceID ResourceType ResourceSubType HostResource",
        "Msvm_StorageAllocationSettingData": (
            "InstanceID ResourceType ResourceSubType HostResource PersistentReservationsSupported"
        ),
        "Msvm_VirtualSystemManagementService": "",
        "Msvm_VirtualSystemManagementServiceSettingData": "DefaultExternalDataRoot",
        "Msvm_VirtualSystemReferencePoint": "InstanceID VirtualDiskIdentifiers ResilientChangeTrackingIdentifiers",
        "Msvm_VirtualSystemReferencePointService": "",
        "Msvm_VirtualSystemSettingData": (
            "InstanceID ElementName Notes VirtualSystemType VirtualSystemIdentifier CreationTime"
            " Version ConfigurationDataRoot ConfigurationFile SnapshotDataRoot SwapFileDataRoot GuestStateDataRoot"
            " GuestStateFile"
        ),
        "Msvm_VirtualSystemSnapshotService": "",
        "Msvm_VirtualSystemSnapshotSettingData": "ConsistencyLevel GuestBackupType IgnoreNonSnapshottableDisks",
        "Win32_ComputerSystem": "Domain PartOfDomain",
        "Win32_OperatingSystem": "Caption Version",
    }.items()
}

_JOB = "Job"
METHODS: dict[tuple[str, str], tuple[frozenset[str], frozenset[str]]] = {
    (owner, method): (frozenset(into.split()), frozenset(out.split()) | {"ReturnValue"})
    for owner, method, into, out in (
        ("CIM_ConcreteJob", "GetErrorEx", "", "Errors"),  # of its subclasses that Hyper-V has
        ("CIM_ConcreteJob", "RequestStateChange", "RequestedState TimeoutPeriod", _JOB),
        (
            "Msvm_ImageManagementService",
            "GetVirtualDiskChanges",
            "Path LimitId TargetSnapshotId ByteOffset ByteLength",
            "ProcessedByteLength ChangedByteOffsets ChangedByteLengths Job",
        ),
        ("Msvm_ImageManagementService", "GetVirtualHardDiskSettingData", "Path", "SettingData Job"),
        ("Msvm_VirtualSystemManagementService", "DestroySystem", "AffectedSystem", _JOB),
        (
            "Msvm_VirtualSystemManagementService",
            "ImportSystemDefinition",
            "SystemDefinitionFile SnapshotFolder GenerateNewSystemIdentifier",
            "ImportedSystem Job",
        ),
        ("Msvm_VirtualSystemManagementService", "ModifyResourceSettings", "ResourceSettings", _JOB),
        ("Msvm_VirtualSystemManagementService", "ModifySystemSettings", "SystemSettings", _JOB),
        ("Msvm_VirtualSystemManagementService", "RealizePlannedSystem", "PlannedSystem", "ResultingSystem Job"),
        ("Msvm_VirtualSystemManagementService", "RemoveResourceSettings", "ResourceSettings", _JOB),
        ("Msvm_VirtualSystemManagementService", "ValidatePlannedSystem", "PlannedSystem", _JOB),
        ("Msvm_VirtualSystemReferencePointService", "DestroyReferencePoint", "AffectedReferencePoint", _JOB),
        (
            "Msvm_VirtualSystemSnapshotService",
            "ConvertToReferencePoint",
            "AffectedSnapshot ReferencePointSettings",
            "ResultingReferencePoint Job",
        ),
        (
            "Msvm_VirtualSystemSnapshotService",
            "CreateSnapshot",
            "AffectedSystem SnapshotSettings SnapshotType",
            "ResultingSnapshot Job",
        ),
        ("Msvm_VirtualSystemSnapshotService", "DestroySnapshot", "AffectedSnapshot", _JOB),
    )
}
"""What a method takes, and what it gives back."""

ASSOCIATIONS: dict[str, str | None] = {
    "MSCluster_ClusterSharedVolumeToResource": "MSCluster_Resource",
    "Msvm_AffectedJobElement": None,  # anything
    "Msvm_SnapshotOfVirtualSystem": "Msvm_VirtualSystemSettingData",
}
"""What is at the other end of an association, from where our scripts stand."""

COMMANDS: dict[str, frozenset[str]] = {
    name: frozenset(parameters.lower().split())
    for name, parameters in {
        "ConvertFrom-Json": "InputObject",
        "ConvertTo-Json": "InputObject Depth Compress",
        "ForEach-Object": "",
        "Get-ChildItem": "Directory",
        "Get-CimAssociatedInstance": "InputObject Association ResultClassName",
        "Get-CimClass": "Namespace ClassName ErrorAction",
        "Get-CimInstance": "Namespace ClassName Filter",
        "Get-WmiObject": "Namespace Filter",
        "Invoke-CimMethod": "InputObject MethodName Arguments",
        "Join-Path": "",
        "New-Item": "ItemType Path Force",
        "New-Object": "",
        "Out-Null": "",
        "Remove-Item": "",
        "Remove-TypeData": "ErrorAction",
        "Sort-Object": "",
        "Split-Path": "Parent",
        "Test-Path": "",
        "Where-Object": "",
        "diskshadow.exe": "",
    }.items()
}
"""The commands that scripts start, with the parameters that they name."""
