"""The table of codes: one line a finding, the first digit is its stage, a number is never used again.

0 the command line · 1 capture · 2 graph · 3 resolve · 4 policy · 5 pair and validate · 6 plan
"""

from __future__ import annotations

from bitmapmig.diagnostics import Code, Severity

_E, _R, _A = Severity.ERROR, Severity.REFUSAL, Severity.ADVICE

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
SIZES_DIFFER = Code("BM541", "sizes-differ", _R, "{node!r} is {source} bytes large, {destination_node!r} on the destination {destination} bytes", "make the virtual sizes equal (block_resize on the source, or qemu-img resize before the destination starts), or leave the node behind; ignored, the destination aborts after the source said `completed`")
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
MAPPING_IN_FORCE = Code("BM561", "mapping-in-force", _A, "a `block-bitmap-mapping` is in force on the {side} already", "the plan replaces it; it cannot be un-set, so look who set it: libvirt sets its own")
CAPABILITY_LEFT_ON = Code("BM562", "capability-left-on", _A, "the capability `dirty-bitmaps` is on at the {side} already", "turn it off after the migration: with it on, a later savevm never returns")
CONVERGENCE_DOUBTFUL = Code("BM563", "convergence-doubtful", _A, "{pending} bytes of bitmaps are counted as pending until the switch-over, and may keep the migration from converging", "{cure}")
MIRROR_PIVOT_LOSES = Code("BM564", "mirror-pivot-loses", _A, "the mirror job {job!r} may run on through the migration; a pivot before the switch-over would take {bitmaps} away", "wait until it is ready, and do not complete it before the migration has ended: with blocks left to copy at the switch-over the source aborts after it has handed everything over; plan again after a pivot")
STORED_COPY_LEFT = Code("BM565", "stored-copy-left", _A, "the image of the destination node {destination!r} holds the stored bitmaps {bitmaps}, which no bitmap of the plan replaces", "remove them (qemu-img bitmap --remove) if they are not wanted")

# 6: plan
COMMAND_UNKNOWN_TO_QEMU = Code("BM601", "command-unknown-to-qemu", _R, "the {side}'s own schema does not allow {command!r}: {reason}", "use a QEMU whose schema allows it; the plan cannot be carried out on this one")
SCHEMA_MISSING = Code("BM602", "schema-missing", _R, "the {side} does not tell its QMP schema, so what it supports is unknown", "let QEMU answer query-qmp-schema, and make the capture anew")
# fmt: on

ALL: tuple[Code, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Code))
BY_CODE: dict[str, Code] = {code.code: code for code in ALL}
ACCEPTABLE: tuple[str, ...] = tuple(code.code for code in ALL if code.acceptable)
