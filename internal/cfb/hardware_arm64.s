#include "textflag.h"

// AESE xors the round key first, and then does SubBytes and ShiftRows; AESMC is
// MixColumns. So the round key after the last round is an xor of its own.
//
// In all functions: R0 the number of rounds (10, 12, 14; the flags are its
// comparison with 12), R2 where the last ciphertext block is kept, R3 and R4 to
// and from where, R5 the number of turns. V16 to V28 are the round keys with
// MixColumns after them (fewer rounds have fewer), V29 the one without, V30 the
// last.
#define ARGUMENTS(shift) \
	MOVD rounds+0(FP), R0      \
	MOVD w+8(FP), R1           \
	MOVD last+16(FP), R2       \
	MOVD dst_base+24(FP), R3   \
	MOVD src_base+48(FP), R4   \
	MOVD src_len+56(FP), R5    \
	LSR  shift, R5             \
	ADD  R0<<4, R1, R6         \
	SUB  $16, R6               \
	VLD1.P 64(R1), [V16.B16, V17.B16, V18.B16, V19.B16] \
	VLD1.P 64(R1), [V20.B16, V21.B16, V22.B16, V23.B16] \
	VLD1.P 64(R1), [V24.B16, V25.B16, V26.B16, V27.B16] \
	VLD1 (R1), [V28.B16]           \
	VLD1 (R6), [V29.B16, V30.B16]  \
	CMP  $12, R0

// func subWord(w uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVWU w+0(FP), R0
	VDUP  R0, V0.S4 // four equal columns, so that ShiftRows moves nothing
	VEOR  V1.B16, V1.B16, V1.B16
	AESE  V1.B16, V0.B16
	VMOV  V0.S[0], R0
	MOVW  R0, ret+8(FP)
	RET

#define ROUND(key, block) \
	AESE  key.B16, block.B16 \
	AESMC block.B16, block.B16

// func encryptBlocks(rounds int, w *schedule, last *[BlockSize]byte, dst, src []byte)
//
// So that nothing but rounds lies between one block and the next, V1, the first
// round key, takes in what turns V0, a block after its last round, into
// ciphertext: V2, the plaintext with the last round key.
TEXT ·encryptBlocks(SB), NOSPLIT, $0-72
	ARGUMENTS($4)
	CBZ  R5, done
	VLD1 (R2), [V0.B16]
	VMOV V16.B16, V1.B16

block:
	VLD1.P 16(R4), [V2.B16]
	VEOR   V30.B16, V2.B16, V2.B16
	ROUND(V1, V0)
	ROUND(V17, V0)
	ROUND(V18, V0)
	ROUND(V19, V0)
	ROUND(V20, V0)
	ROUND(V21, V0)
	ROUND(V22, V0)
	ROUND(V23, V0)
	ROUND(V24, V0)
	BLT    final
	ROUND(V25, V0)
	ROUND(V26, V0)
	BEQ    final
	ROUND(V27, V0)
	ROUND(V28, V0)

final:
	AESE   V29.B16, V0.B16
	VEOR   V2.B16, V16.B16, V1.B16
	VEOR   V2.B16, V0.B16, V3.B16 // the ciphertext
	VST1.P [V3.B16], 16(R3)
	SUB    $1, R5
	CBNZ   R5, block
	VST1   [V3.B16], (R2)

done:
	RET

#define EIGHT(key) \
	ROUND(key, V0) \
	ROUND(key, V1) \
	ROUND(key, V2) \
	ROUND(key, V3) \
	ROUND(key, V4) \
	ROUND(key, V5) \
	ROUND(key, V6) \
	ROUND(key, V7)

// FINAL makes plaintext: of the key stream but for the last round key, and of
// the ciphertext with it.
#define FINAL(cipher, block) \
	VEOR V30.B16, cipher.B16, cipher.B16 \
	AESE V29.B16, block.B16              \
	VEOR cipher.B16, block.B16, block.B16

// func decryptEights(rounds int, w *schedule, last *[BlockSize]byte, dst, src []byte)
//
// V0 to V7 are blocks, V8 to V15 their ciphertext, V31 is the ciphertext block
// before them and then the last of them.
TEXT ·decryptEights(SB), NOSPLIT, $0-72
	ARGUMENTS($7)
	CBZ  R5, done
	VLD1 (R2), [V31.B16]

group:
	VLD1.P 64(R4), [V8.B16, V9.B16, V10.B16, V11.B16]
	VLD1.P 64(R4), [V12.B16, V13.B16, V14.B16, V15.B16]
	VMOV   V31.B16, V0.B16
	VMOV   V8.B16, V1.B16
	VMOV   V9.B16, V2.B16
	VMOV   V10.B16, V3.B16
	VMOV   V11.B16, V4.B16
	VMOV   V12.B16, V5.B16
	VMOV   V13.B16, V6.B16
	VMOV   V14.B16, V7.B16
	VMOV   V15.B16, V31.B16

	EIGHT(V16)
	EIGHT(V17)
	EIGHT(V18)
	EIGHT(V19)
	EIGHT(V20)
	EIGHT(V21)
	EIGHT(V22)
	EIGHT(V23)
	EIGHT(V24)
	BLT    final
	EIGHT(V25)
	EIGHT(V26)
	BEQ    final
	EIGHT(V27)
	EIGHT(V28)

final:
	FINAL(V8, V0)
	FINAL(V9, V1)
	FINAL(V10, V2)
	FINAL(V11, V3)
	FINAL(V12, V4)
	FINAL(V13, V5)
	FINAL(V14, V6)
	FINAL(V15, V7)
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R3)
	VST1.P [V4.B16, V5.B16, V6.B16, V7.B16], 64(R3)
	SUB    $1, R5
	CBNZ   R5, group
	VST1   [V31.B16], (R2)

done:
	RET
