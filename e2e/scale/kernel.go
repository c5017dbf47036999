package main

// What of the kernel's protocol for file systems (linux/fuse.h, 7.31) a folder of
// folders of a file each needs. A library would be one more for a test to need.

const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opRead        = 15
	opInit        = 26
	opReaddir     = 28
	opInterrupt   = 36
	opDestroy     = 38
	opBatchForget = 42
)

const (
	protocolMajor, protocolMinor = 7, 31

	asyncRead       = 1 << 0  // several reads of one file at once
	noOpenSupport   = 1 << 17 // files need no opening,
	noOpendir       = 1 << 24 // nor do folders
	withMaxPages    = 1 << 22
	maxPages        = 256 // of 4 KiB: reads of up to 1 MiB
	smallestRequest = 8192
)

type request struct {
	Length, Opcode uint32
	Unique, Node   uint64
	_              [4]uint32 // who asks
}

const requestLength = 40

type reply struct {
	Length uint32
	Error  int32
	Unique uint64
}

const replyLength = 16

type initIn struct {
	Major, Minor, MaxReadahead, Flags uint32
}

type initOut struct {
	Major, Minor, MaxReadahead, Flags uint32
	MaxBackground, Congestion         uint16
	MaxWrite, TimeGranularity         uint32
	MaxPages                          uint16
	_                                 [34]byte
}

type attributes struct {
	Node, Size, Blocks              uint64
	Accessed, Modified, Changed     uint64
	_                               [3]uint32 // their nanoseconds
	Mode, Links, User, Group        uint32
	Device, BlockSize, FurtherFlags uint32
}

type attributesOut struct {
	Valid uint64 // seconds
	_     uint64
	attributes
}

type entryOut struct {
	Node, Generation       uint64
	EntryValid, AttrsValid uint64 // seconds
	_                      uint64
	attributes
}

type readIn struct {
	Handle, Offset uint64
	Size           uint32
}

type entryHeader struct {
	Node, Next       uint64
	NameLength, Type uint32
}
