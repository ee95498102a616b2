"""The table of codes: one line a finding, the first digit is its stage, a number is never used again.

0 the command line · 1 capture · 2 graph · 3 resolve · 4 policy · 5 pair and validate · 6 plan · 7 apply · 8 verify · 9 finish
"""

from __future__ import annotations

from bitmapmig.diagnostics import Code, Severity

_E, _S, _F, _R, _A = Severity.ERROR, Severity.STALE, Severity.FAILURE, Severity.REFUSAL, Severity.ADVICE

# fmt: off
# ruff: noqa: E501  a row of the table is one line

# 0: the command line
FILE_NOT_WRITTEN = Code("BM001", "file-not-written", _E, "{path!r} cannot be written: {reason}", "name a file in a folder that exists and that you may write to")
CODE_UNKNOWN = Code("BM002", "code-unknown", _E, "there is no code {code!r}", "`bitmapmig explain` lists all codes")

# 1: capture
ENDPOINT_MALFORMED = Code("BM101", "endpoint-malformed", _E, "{endpoint!r} is no endpoint: {reason}", "write unix:PATH, tcp:HOST:PORT, the path of a socket or of a capture file, or - for a capture on standard input")
ENDPOINT_UNREACHABLE = Code("BM102", "endpoint-unreachable", _E, "{endpoint!r} cannot be reached: {reason}", "check that QEMU runs with -qmp on this address and that you may open it")
MONITOR_HELD = Code("BM103", "monitor-held", _E, "the monitor at {endpoint!r} accepts the connection and does not greet: another client holds it", "a QMP socket serves one client at a time; end the other one (libvirt holds its own socket for ever), or give QEMU a second -qmp socket")
MONITOR_SILENT = Code("BM104", "monitor-silent", _E, "the monitor at {endpoint!r} did not {awaited} within {seconds:g} s", "QEMU may be stopped or busy, or another client may hold the monitor: try again, or with a larger --timeout")
MONITOR_NOT_QMP = Code("BM105", "monitor-not-qmp", _E, "what answers at {endpoint!r} does not speak QMP: {reason}", "name the socket of -qmp, not a human monitor, a serial console or another program")
MONITOR_LOST = Code("BM106", "monitor-lost", _E, "the connection to {endpoint!r} was lost while {awaited} was awaited: {reason}", "check whether QEMU still runs, then try again")
REPLY_TOO_LARGE = Code("BM107", "reply-too-large", _E, "the monitor at {endpoint!r} sent a reply longer than {limit} bytes", "no QEMU answers a read-only query at such length: check what listens there")
COMMAND_FAILED = Code("BM108", "command-failed", _E, "{command!r} has no answer from {endpoint!r}: {error}", "this query is needed for any decision; `Block device ... is ejected` means that QEMU runs without one of its disks")
GRAPH_CHANGING = Code("BM109", "graph-changing", _E, "the block graph at {endpoint!r} changed during each of {attempts} captures", "wait until block jobs, hot-plug and snapshots have come to rest, then try again")
CAPTURE_UNREADABLE = Code("BM110", "capture-unreadable", _E, "the capture {path!r} cannot be read: {reason}", "make it anew: bitmapmig capture ENDPOINT -o FILE")
CAPTURE_MALFORMED = Code("BM111", "capture-malformed", _E, "the capture of {endpoint!r} is not what QEMU sends: {reason}", "make it anew: bitmapmig capture ENDPOINT -o FILE; a capture is not meant to be edited")
CAPTURE_VERSION = Code("BM112", "capture-version", _E, "the capture {path!r} has format_version {found}, this version reads {known}", "make it anew with this version of bitmapmig, or use the version that made it")
CAPTURE_WOULD_KILL = Code("BM113", "capture-would-kill", _E, "the backup job {job!r} at {endpoint!r} has concluded and is not dismissed: asking this version for its nodes would kill it", "dismiss the job (job-dismiss), then try again")

# 2: graph
GRAPH_CYCLIC = Code("BM201", "graph-cyclic", _R, "the block graph contains the cycle {cycle}", "QEMU's graphs have no cycles, so this is no genuine capture: make it anew")
REFERENCE_DANGLING = Code("BM202", "reference-dangling", _R, "{referrer!r} refers to the node {node!r}, which is not in the list of nodes", "no genuine capture has this: make it anew while no job starts or ends")
EDGES_DISAGREE = Code("BM203", "edges-disagree", _R, "`children` and `x-debug-query-block-graph` disagree about the children of {node!r}: {children} and {debug}", "no genuine capture has this: make it anew while no job starts or ends")
NAMES_CLASH = Code("BM204", "names-clash", _R, "{name!r} names {what}", "QEMU keeps device names and node-names apart and each unique, so this is no genuine capture: make it anew")
NODE_INCOMPLETE = Code("BM205", "node-incomplete", _R, "the record of {node!r} lacks {member!r}, which a decision about its bitmaps needs", "use a QEMU that reports it, or leave the node's bitmaps behind")
WRITE_PATH_UNKNOWN = Code("BM206", "write-path-unknown", _R, "whether guest writes reach {node!r} cannot be known: {reason}", "let QEMU answer x-debug-query-block-graph (no -compat unstable-input=reject), or leave the node's bitmaps behind")
FILTER_UNKNOWN = Code("BM207", "filter-unknown", _R, "whether {driver!r}, the driver of {node!r}, is a filter cannot be known, so neither can the node that {device!r} means", "map the bitmap by node-name in the policy")

# 3: resolve
ADDRESS_MISSING = Code("BM301", "address-missing", _R, "bitmap {bitmap!r} is on the node {node!r}, {reason}", "map it by device and path in the policy, leave it behind, or give the node a node-name")
BACKENDS_SHARE_NODE = Code("BM302", "backends-share-node", _R, "bitmap {bitmap!r} is on {node!r}, which is the root of several devices: {devices}", "map it by one of the devices in the policy, or leave it behind")

# 4: policy
POLICY_UNREADABLE = Code("BM401", "policy-unreadable", _E, "the policy {path!r} cannot be read: {reason}", "name a readable file that ends on .yaml, .yml, .json or .toml")
POLICY_SYNTAX = Code("BM402", "policy-syntax", _E, "the policy is not well-formed {format}: {reason}", "mend the file at the place that is named")
POLICY_KEY_TWICE = Code("BM403", "policy-key-twice", _E, "the key {key!r} is there twice", "keep one of the two")
POLICY_INVALID = Code("BM404", "policy-invalid", _E, "{reason}", "`bitmapmig schema policy` prints what a policy may hold")
POLICY_RECORDING = Code("BM405", "policy-recording", _E, "`recording` cannot be changed by a migration: QEMU has no such transform", "migrate the bitmap as it is; enable or disable it on the destination (block-dirty-bitmap-enable, block-dirty-bitmap-disable) once it has arrived")
POLICY_ACCEPT = Code("BM406", "policy-accept", _E, "{code!r} cannot be accepted: {reason}", "only findings about what may still change before `migrate` can be accepted: {acceptable}")
POLICY_TOO_LARGE = Code("BM407", "policy-too-large", _E, "the policy is larger than this tool takes: {reason}", "a wildcard says in one entry what thousands of entries say")
MAP_SOURCE_MISSING = Code("BM411", "map-source-missing", _R, "the map entry {entry} matches no bitmap of the source: {reason}", "correct the name (`bitmapmig preview SOURCE` lists all), or write `optional: true`")
PATTERN_UNMATCHED = Code("BM412", "pattern-unmatched", _R, "the {list} entry {entry} matches no bitmap of the source", "correct the name (`bitmapmig preview SOURCE` lists all), or write `optional: true`")
WILDCARD_UNMATCHED = Code("BM413", "wildcard-unmatched", _A, "the {list} entry {entry} matches no bitmap of the source", "nothing to do, if that is what you expect")
MAP_ENTRIES_COMPETE = Code("BM414", "map-entries-compete", _R, "bitmap {bitmap!r} on {node!r} is claimed by equally specific map entries: {entries}", "keep one of them")
BITMAP_UNCOVERED = Code("BM415", "bitmap-uncovered", _R, "bitmap {bitmap!r} on {node!r} is covered by no entry, and the policy says `defaults: false`", "add it to `map` or `deny`")
STORAGE_DISK_MISSING = Code("BM416", "storage-disk-missing", _R, "`storage.disks` names {disk!r}, which is no device, node-name or guest device of the source", "correct the name (`bitmapmig preview SOURCE` lists all)")

# 5: pair and validate
DESTINATION_MISSING = Code("BM501", "destination-missing", _R, "bitmap {bitmap!r} on {node!r} goes to {address!r}, and the destination has no device or node of that name", "map it to a node of the destination, leave it behind, or start the destination with that name; ignored, QEMU drops *all* bitmaps of the VM and both sides say `completed`")
DESTINATION_EMPTY = Code("BM502", "destination-empty", _R, "bitmap {bitmap!r} on {node!r} goes to the device {address!r}, which has no medium on the destination", "insert the medium on the destination, map the bitmap elsewhere, or leave it behind")
NODES_MERGE = Code("BM503", "nodes-merge", _R, "the bitmaps of {nodes} all go to the destination node {destination!r}; a mapping takes one source node for each", "merge the bitmaps into one node first (block-dirty-bitmap-merge), or leave all nodes but one behind")
NODE_SPLIT = Code("BM504", "node-split", _R, "the bitmaps of {node!r} go to several destination nodes: {destinations}", "send all bitmaps of a node to one node, and leave the rest behind")
BITMAPS_COLLIDE = Code("BM505", "bitmaps-collide", _R, "the bitmaps {bitmaps} of {node!r} get the same name {name!r} on the destination", "give each its own name in the policy")
GUEST_DEVICES_DIFFER = Code("BM506", "guest-devices-differ", _A, "{node!r} is the disk of guest device {device!r} on the source, and {destination!r} that of {other!r} on the destination", "if the guest sees one disk under both, nothing; else pair by guest device: --resolve guest-device")
SOURCE_NOT_ABLE = Code("BM511", "source-not-able", _R, "the source cannot start a migration: {reason}", "wait, or plan against another source; one in `postmigrate` can migrate again after `cont`, if its destination does not run")
DESTINATION_NOT_WAITING = Code("BM512", "destination-not-waiting", _R, "the destination is not waiting for a migration: {reason}", "start it with -incoming defer; for a destination that does not exist yet, use --provisional", acceptable=True)
SAME_PROCESS = Code("BM513", "same-process", _R, "source and destination are the same QEMU process: {reason}", "name the monitor of the other QEMU")
MIGRATION_BLOCKED = Code("BM514", "migration-blocked", _R, "the source refuses to migrate: {reasons}", "remove what blocks the migration; QEMU names it")
VERSION_DOWNWARD = Code("BM515", "version-downward", _R, "migrating from QEMU {source} to {destination} is downwards and fails with the machine type {machine!r}", "use a destination at least as new as the source, or run both with one versioned machine type such as pc-q35-7.2")
MACHINE_TYPE_UNKNOWN = Code("BM516", "machine-type-unknown", _R, "the machine type of the {side} is unknown, and QEMU {source} to {destination} works only with the same versioned one on both sides", "check that both sides run the same versioned machine type, then accept this code", acceptable=True)
MACHINE_TYPES_DIFFER = Code("BM517", "machine-types-differ", _R, "the source is a {source!r}, the destination a {destination!r}", "start the destination with the source's machine type: QEMU refuses any other")
JOB_STOPS_SWITCH_OVER = Code("BM518", "job-stops-switch-over", _R, "the {type} job {job!r} makes the switch-over fail if it still runs then", "let the job end or cancel it before `migrate`, then plan again or accept this code", acceptable=True)
FILTER_STOPS_SWITCH_OVER = Code("BM519", "filter-stops-switch-over", _R, "the {driver} node {node!r} makes the switch-over fail", "remove the node (end the backup or the fleecing that it serves), then plan again")
DIRTY_BITMAPS_UNSUPPORTED = Code("BM520", "dirty-bitmaps-unsupported", _R, "the {side} does not know the capability `dirty-bitmaps`", "use QEMU 5.2 or newer on both sides")
MAPPING_UNSUPPORTED = Code("BM521", "mapping-unsupported", _R, "the {side} does not know `block-bitmap-mapping`, and without it {reason}", "use QEMU 5.2 or newer")
TRANSFORM_UNSUPPORTED = Code("BM522", "transform-unsupported", _R, "the policy changes `persistent` of {bitmap!r} on {node!r}, and the {side} knows no `transform`", "use QEMU 6.0 or newer, or drop `persistent` from the policy")
CAPABILITY_CONFLICT = Code("BM523", "capability-conflict", _R, "the capability {capability!r} is on at the source and excludes `dirty-bitmaps`", "turn it off: migrate-set-capabilities with state false")
EXPORT_STOPS_SWITCH_OVER = Code("BM524", "export-stops-switch-over", _R, "the export {export!r} lets its clients write to {node!r}, or may, which makes the switch-over fail unless it was added with `allow-inactive`", "end the export before `migrate` (block-export-del), then plan again or accept this code", acceptable=True)
UUIDS_DIFFER = Code("BM525", "uuids-differ", _R, "the capability `validate-uuid` is on at the source, whose uuid is {source!r}, and that of the destination is {destination!r}", "start the destination with the source's -uuid, or turn the capability off")
BITMAP_INCONSISTENT = Code("BM531", "bitmap-inconsistent", _R, "bitmap {bitmap!r} on {node!r} is inconsistent{unlisted}", "remove it (block-dirty-bitmap-remove), which loses nothing that is still of use, or leave {what} behind; ignored, the whole migration fails")
BITMAP_BUSY = Code("BM532", "bitmap-busy", _R, "bitmap {bitmap!r} on {node!r} is in use by another operation{unlisted}", "wait for the job or end the export that uses it, or leave {what} behind; ignored, the whole migration fails")
BITMAP_READ_ONLY = Code("BM533", "bitmap-read-only", _R, "bitmap {bitmap!r} on {node!r} is read-only{unlisted}: it was loaded from an image that is open read-only", "leave {what} behind; it travels in the image where storage is shared; ignored, the whole migration fails")
SIZES_DIFFER = Code("BM541", "sizes-differ", _R, "{node!r} is {source} bytes large, {destination_node!r} on the destination {destination} bytes", "make the virtual sizes equal (block_resize on the source, or qemu-img resize before the destination starts), or leave the node behind; ignored, the destination mostly aborts after the source said `completed`")
BITMAP_ALREADY_THERE = Code("BM542", "bitmap-already-there", _R, "the destination node {destination!r} already has a bitmap {name!r}", "remove it there (block-dirty-bitmap-remove), or give this one another name in the policy; ignored, the destination exits")
BITMAP_STORED_THERE = Code("BM543", "bitmap-stored-there", _R, "the image of the destination node {destination!r} {holds} {name!r}", "remove it from the image (qemu-img bitmap --remove) before the destination opens it; ignored, both sides say `completed` and the VM loses the disk when the image is activated")
STORED_COPY_STALE = Code("BM544", "stored-copy-stale", _R, "bitmap {bitmap!r} on {node!r} does not arrive under its name, and the image of {destination!r} holds a clean stored copy of that name, which would come up looking healthy", "remove the copy from the image (qemu-img bitmap --remove) before the destination opens it; ignored, the next incremental backup is silently wrong")
STORED_COPY_ORPHANED = Code("BM545", "stored-copy-orphaned", _R, "bitmap {bitmap!r} on {node!r} is stored in the shared image, and the policy {change}: the stored copy would come up inconsistent", "keep name and persistence on shared storage; rename or transform after the migration")
STORAGE_UNKNOWN = Code("BM546", "storage-unknown", _R, "what becomes of bitmap {bitmap!r} on {node!r} depends on the storage: {shared}; {separate}", "say in the policy whether the storage is shared or separate", acceptable=True)
STORAGE_CONTRADICTED = Code("BM547", "storage-contradicted", _R, "the policy says that the storage of {node!r} is shared, and {destination!r} on the destination differs in {what}", "say `storage: separate` for this disk, or start the destination on the shared image")
PERSISTENCE_IMPOSSIBLE = Code("BM548", "persistence-impossible", _R, "bitmap {bitmap!r} on {node!r} is persistent, and the destination node {destination!r} cannot store it: {reason}", "send it to a qcow2 image of version 3 (compat=1.1), or make it transient in the policy; ignored, it is shown as persistent and gone at shutdown")
DESTINATION_READ_ONLY = Code("BM549", "destination-read-only", _R, "bitmap {bitmap!r} on {node!r} is persistent, and the destination node {destination!r} is read-only", "open the destination node for writing, or make the bitmap transient in the policy; ignored, it is lost at shutdown, or the destination exits (from 11.1)")
BITMAP_UNWRITTEN = Code("BM550", "bitmap-unwritten", _R, "no guest write reaches {node!r}, so its bitmap {bitmap!r} misses what the guest wrote, and {destination!r} on the destination is a disk of the guest", "leave it behind and begin a new full backup; ignored, the next incremental backup is silently wrong")
NAME_IMPOSSIBLE = Code("BM551", "name-impossible", _R, "the {kind} {name!r} is {length} bytes long, QEMU takes at most {limit}", "choose a shorter name in the policy")
NAME_GARBLED = Code("BM552", "name-garbled", _R, "the name of bitmap {bitmap!r} on {node!r} is not valid UTF-8 in QEMU, which shows U+FFFD in its place", "leave it behind, or remove it and begin a new full backup under another name; ignored, a map does not find it and it is lost without a word")
NODE_GROWS = Code("BM553", "node-grows", _R, "{node!r} is the file of {parent!r}, which stores bitmaps in it at the switch-over; it grows while its own bitmap {bitmap!r} migrates", "leave the bitmap behind, or let those of the format node migrate too; ignored, the source aborts")
BUSY_WHEN_STORED = Code("BM554", "busy-when-stored", _R, "bitmap {bitmap!r} on {node!r} is persistent, stays behind, and is in use: its image stores it at the switch-over", "wait for the job or end the export that uses it, or make the bitmap anew; ignored, the source process aborts")
MAPPING_IN_FORCE = Code("BM561", "mapping-in-force", _A, "a `block-bitmap-mapping` is in force on the {side} already: {effect}", "the plan replaces it; what an earlier plan has left, `bitmapmig finish --failed PLAN` makes neutral, since a map cannot be un-set; libvirt sets its own")
CAPABILITY_LEFT_ON = Code("BM562", "capability-left-on", _A, "the capability `dirty-bitmaps` is on at the {side} already: {effect}", "what an earlier plan has left on, `bitmapmig finish --failed PLAN` turns off; for a new plan it counts as on before, and stays on")
CONVERGENCE_DOUBTFUL = Code("BM563", "convergence-doubtful", _A, "{pending} bytes of bitmaps are counted as pending until the switch-over, and may keep the migration from converging", "{cure}")
MIRROR_PIVOT_LOSES = Code("BM564", "mirror-pivot-loses", _A, "the mirror job {job!r} may run on through the migration; a pivot before the switch-over would take {bitmaps} away", "wait until it is ready, and do not complete it before the migration has ended: with blocks left to copy at the switch-over the source aborts after it has handed everything over; plan again after a pivot")
STORED_COPY_LEFT = Code("BM565", "stored-copy-left", _A, "the image of the destination node {destination!r} holds the stored bitmaps {bitmaps}, which no bitmap of the plan replaces", "remove them (qemu-img bitmap --remove) if they are not wanted")

# 6: plan
COMMAND_UNKNOWN_TO_QEMU = Code("BM601", "command-unknown-to-qemu", _R, "the {side}'s own schema does not allow {command!r}: {reason}", "use a QEMU whose schema allows it; the plan cannot be carried out on this one")
SCHEMA_MISSING = Code("BM602", "schema-missing", _R, "the {side} does not tell its QMP schema, so what it supports is unknown", "let QEMU answer query-qmp-schema, and make the capture anew")
LOSS_FORETOLD = Code("BM603", "loss-foretold", _R, "every check passes, and yet the model of QEMU foretells of bitmap {bitmap!r} on {node!r}: {outcome}, because {reason}", "do not migrate like this: leave the bitmap behind, or report this pair of captures (`bitmapmig capture --redact`), since two parts of bitmapmig disagree")

# 7: apply
PLAN_UNREADABLE = Code("BM701", "plan-unreadable", _E, "the plan {path!r} cannot be read: {reason}", "name the file that `bitmapmig plan SOURCE DESTINATION -o FILE` wrote")
PLAN_MALFORMED = Code("BM702", "plan-malformed", _E, "{path!r} is no plan: {reason}", "make it anew: bitmapmig plan SOURCE DESTINATION -o FILE; a plan is not meant to be edited")
PLAN_VERSION = Code("BM703", "plan-version", _E, "the plan {path!r} has format_version {found}, this version reads {known}", "make it anew with this version of bitmapmig, or use the version that made it")
PLAN_REFUSED = Code("BM704", "plan-refused", _E, "the plan is a refusal, with {refusals} findings: there is nothing to carry out", "cure what it names, and plan again")
PLAN_PROVISIONAL = Code("BM705", "plan-provisional", _E, "the plan is provisional: its destination was one of its like", "start the destination with -incoming defer, then plan again without --provisional")
PLAN_ALTERED = Code("BM706", "plan-altered", _E, "the plan was altered: {what}", "make it anew: bitmapmig plan SOURCE DESTINATION -o FILE; a plan is not meant to be edited")
ENDPOINT_STORED = Code("BM707", "endpoint-stored", _E, "{endpoint!r} is a stored capture, and only a monitor can be written to", "name the monitor with --{side}, or print the commands with --script")
ANOTHER_QEMU = Code("BM711", "another-qemu", _S, "the {side} is not the one that was planned for: {differences}", "plan again for this one, or name the right one with --{side}")
PLAN_STALE = Code("BM712", "plan-stale", _S, "the block graph of the {side} is not the one that was planned for: {changes}", "plan again")
PLAN_DEFEATED = Code("BM713", "plan-defeated", _S, "bitmap {bitmap!r} on {node!r} would not arrive any more as planned ({outcome}): {reason}", "plan again, which says what is to be done")
ENDS_ARE_ONE = Code("BM714", "ends-are-one", _S, "source and destination are the same QEMU process", "name the monitor of the other QEMU with --source or --destination")
PROCESS_REPLACED = Code("BM715", "process-replaced", _E, "another process answers at {endpoint!r} than did a moment ago", "see what became of the first one; plan again for the one that runs now")
COMMAND_REFUSED = Code("BM721", "command-refused", _E, "the {side} refuses {command!r}: {error}", "what it says is the reason; plan again if it has changed")
READ_BACK_DIFFERS = Code("BM722", "read-back-differs", _E, "the {side} was set and does not have it: {differences}", "somebody else sets it as well (libvirt sets its own map): see who, then plan and apply again")
COMMAND_UNCONFIRMED = Code("BM723", "command-unconfirmed", _E, "the {side} did not answer {command!r}: {reason}; {looked}", "see whether QEMU still runs, then plan and apply again")
SIDE_NOW = Code("BM724", "side-now", _E, "the {side} {now}", "nothing is to be done")
SIDE_UNKNOWN = Code("BM725", "side-unknown", _E, "what the {side} has in force now is not known, it may be as it was, as planned, or in between: {reason}", "look once it answers, with query-migrate-parameters and query-migrate-capabilities, or run `bitmapmig finish --failed`")
APPLY_INTERRUPTED = Code("BM726", "apply-interrupted", _E, "interrupted by {signal}: {outcome}", "run the same command again, if you want it after all; where it is set and no migration comes: bitmapmig finish --failed PLAN")
GRAPH_CHANGED_SINCE = Code("BM731", "graph-changed-since", _A, "the block graph of the {side} has changed since the plan was applied: {changes}", "if the migration has not begun, plan and apply again before it does; else verify it, and keep the source until then")
MIGRATION_NOT_SEEN = Code("BM732", "migration-not-seen", _E, "no migration came to its end within {seconds:g} s; its status is {status!r}, and all stays set as planned", "verify and finish once it is over, with the same plan; or give it up: bitmapmig finish --failed PLAN")
ATTEMPT_FAILED = Code("BM733", "attempt-failed", _F, "the migration did not complete: its status on the source is {status!r}{reason}", "the source's log says why, the destination's what it made of it (bitmapmig verify PLAN --log FILE); plan again before the next attempt")
DIGESTS_NOT_KEPT = Code("BM734", "digests-not-kept", _A, "the digests of the source's bitmaps could not be kept for a later `verify`: {reason}", "verify while both QEMUs still run")
END_SILENT = Code("BM735", "end-silent", _A, "the {side} cannot be looked at any more, and no migration has begun: {reason}", "start it again, plan and apply; or give it up: bitmapmig finish --failed PLAN")
NOT_CLEANED = Code("BM736", "not-cleaned", _E, "the ends are not cleaned up: what the plan set may still be set", "run `bitmapmig finish PLAN`; until then dirty-bitmaps may be on at the source, where a later savevm never returns")
LOCK_HELD = Code("BM751", "lock-held", _E, "the lock on {key!r} is held by {by}", "wait until it has ended (--lock-timeout SECONDS waits for it), then try again; one process at a time may write to a VM")
LOCK_LOST = Code("BM752", "lock-lost", _E, "the lock on {key!r} is lost: {reason}", "nothing more was sent; look whether another process writes to the VM, then try again")
LOCK_URL_MALFORMED = Code("BM753", "lock-url-malformed", _E, "{url!r} names no lock: {reason}", "write it as redis://HOST:PORT, or leave it away for a lock of this host")
LOCK_EXTRA_MISSING = Code("BM754", "lock-extra-missing", _E, "the lock at {url!r} needs the package {package!r}, which is not installed", "pip install 'bitmapmig[lock]'")
LOCK_UNAVAILABLE = Code("BM755", "lock-unavailable", _E, "the lock at {url!r} cannot be used: {reason}", "check that the service runs there and that you may use it")
STATE_DIRECTORY_UNUSABLE = Code("BM756", "state-directory-unusable", _E, "the state directory {path!r} cannot be used: {reason}", "make it a folder of your own that nobody else can write to (chmod 700), or let XDG_STATE_HOME name another place")

# 8: verify
MIGRATION_NOT_COMPLETED = Code("BM801", "migration-not-completed", _F, "the migration has not completed: {reason}", "verify once `query-migrate` says `completed` on both sides")
MIGRATION_FAILED = Code("BM802", "migration-failed", _F, "the migration did not succeed: {reason}; {source_now}", "nothing is lost while the source has its bitmaps: look at both logs, run `bitmapmig finish --failed PLAN`, cure the cause and plan again")
DESTINATION_GONE = Code("BM803", "destination-gone", _F, "there is no destination at {endpoint!r} any more: {reason}; {source_now}", "look at its log for the reason (--log FILE shows the line); if the source is in `postmigrate`, it still has its bitmaps and can go on (`cont`)")
BITMAP_LOST = Code("BM804", "bitmap-lost", _F, "bitmap {bitmap!r} of {node!r} is not on the destination node {destination!r} as {name!r}{cause}", "{cure}")
BITMAP_ALTERED = Code("BM805", "bitmap-altered", _F, "bitmap {bitmap!r} of {node!r} is on {destination!r} as {name!r}, and {differences}{cause}", "do not back up with it before the reason is known: {cure}")
CONTENT_DIFFERS = Code("BM806", "content-differs", _F, "the bits of {name!r} on {destination!r} are not those of {bitmap!r} on {node!r}: {reason}{cause}", "do not back up with it: {cure}")
DISK_LOST = Code("BM807", "disk-lost", _F, "the destination has lost a disk: {error}", "end the destination before the guest does harm, and let the source go on (`cont`); a stored bitmap of the same name in the destination's image does this, `--log FILE` shows the line")
BITMAP_UNPROVEN = Code("BM811", "bitmap-unproven", _A, "bitmap {bitmap!r} of {node!r} may be right, and is not proven: {reason}", "start the destination with -S and verify before `cont`, or apply with --wait-migration, which records digests at `pre-switchover`")
DIGEST_REFUSED = Code("BM812", "digest-refused", _A, "the {side} gives no digest of bitmaps: {error}", "let QEMU answer x-debug-block-dirty-bitmap-sha256 (no -compat unstable-input=reject), or do with counts and flags")
SOURCE_RAN_ON = Code("BM813", "source-ran-on", _A, "the source is {run_state!r} again, so its bitmaps are not those that it sent", "verify while the source is in `postmigrate`; one VM must never run on both sides")
LOG_UNREADABLE = Code("BM814", "log-unreadable", _E, "the log {path!r} cannot be read: {reason}", "name a file that holds what QEMU printed to standard error, and that you may read")
ENDPOINT_BEFORE = Code("BM815", "endpoint-before", _E, "the {side} that was planned for is the stored capture {endpoint!r}, which was taken before the migration", "name the {side} with --{side}: its monitor, or a capture that was taken since")

# 9: finish
MIGRATION_UNDER_WAY = Code("BM901", "migration-under-way", _R, "a migration is under way at the {side}: its status is {status!r}", "wait until it has ended, or cancel it (`migrate_cancel`), then finish")
MIGRATION_NOT_OVER = Code("BM902", "migration-not-over", _R, "there is no migration that has completed: {reason}", "migrate first; to give an attempt up, run `bitmapmig finish --failed PLAN`")
ENDS_UNREACHABLE = Code("BM903", "ends-unreachable", _R, "neither end can be reached, so nothing is known of the migration: {reason}", "name the ends with --source and --destination; if both processes are gone, there is nothing to finish")
MAPPING_OF_ANOTHER = Code("BM904", "mapping-of-another", _A, "the `block-bitmap-mapping` of the {side} is neither the plan's nor neutral, so somebody else has set it", "leave it if it is of use; else plan the next migration with it in force, which says what it would lose")
CAPABILITY_OF_ANOTHER = Code("BM905", "capability-of-another", _A, "`dirty-bitmaps` is on at the {side}, and the plan did not turn it on", "turn it off (migrate-set-capabilities with state false) unless a migration is to follow: with it on, a later savevm never returns")
# fmt: on

ALL: tuple[Code, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Code))
BY_CODE: dict[str, Code] = {code.code: code for code in ALL}
ACCEPTABLE: tuple[str, ...] = tuple(code.code for code in ALL if code.acceptable)
