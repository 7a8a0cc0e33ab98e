# holdfast-script: create-shadow
# version: 2
# effect: changes
param($Arguments)
# The names come from our own program; what is not of their form never gets into diskshadow's script.
if ($Arguments.name -notmatch '\A[A-Za-z0-9._-]+\z') { Stop-Script 'invalid' 'label' 'That is no name.' }
$letters = @($Arguments.letters)
foreach ($letter in $letters) {
    if ($letter -notmatch '\A[A-Z]\z') { Stop-Script 'invalid' 'smb-path' 'That is no drive.' }
}

$folder = Join-Path 'C:\ProgramData\Holdfast' $Arguments.name
$lines = @('SET CONTEXT PERSISTENT', 'BEGIN BACKUP')
foreach ($letter in $letters) { $lines += 'ADD VOLUME {0}: ALIAS Holdfast{0}' -f $letter }
$lines += 'CREATE'
foreach ($letter in $letters) {
    New-Item -ItemType Directory -Path (Join-Path $folder $letter) -Force | Out-Null
    $lines += 'EXPOSE %Holdfast{0}% {1}\{0}' -f $letter, $folder
}
$lines += 'END BACKUP'
$script = [IO.Path]::GetTempFileName()
[IO.File]::WriteAllLines($script, $lines)
$said = @(& diskshadow.exe /s $script)
$failed = $LASTEXITCODE -ne 0
Remove-Item $script
if ($failed) { Stop-Script 'invalid' 'shadow-failed' ([string]::Join(' ', $said)) }
@{ made = $true }
