#include "textflag.h"

// In all functions: CX the number of rounds (10, 12, 14), AX the round keys and
// R8 the last of them, BX where the last ciphertext block is kept, DI and SI to
// and from where, DX the number of turns.
#define ARGUMENTS(shift) \
	MOVQ rounds+0(FP), CX      \
	MOVQ w+8(FP), AX           \
	MOVQ CX, R8                \
	SHLQ $4, R8                \
	ADDQ AX, R8                \
	MOVQ last+16(FP), BX       \
	MOVQ dst_base+24(FP), DI   \
	MOVQ src_base+48(FP), SI   \
	MOVQ src_len+56(FP), DX    \
	SHRQ shift, DX

// func subWord(w uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	MOVL            w+0(FP), X0
	PSHUFD          $0, X0, X0
	AESKEYGENASSIST $0, X0, X0 // word 0 is SubWord of word 1
	MOVL            X0, ret+8(FP)
	RET

// func encryptBlocks(rounds int, w *schedule, last *[BlockSize]byte, dst, src []byte)
//
// X0 is what a block's first round begins with: the ciphertext before, with the
// first round key. So that nothing but rounds lies between one block and the
// next, X15 has what comes after the last round all in one: the last round key,
// the plaintext, and the next block's first round key. X1 to X13 are the round
// keys between (fewer rounds have fewer), X14 is the first and the last, xored.
TEXT ·encryptBlocks(SB), NOSPLIT, $0-72
	ARGUMENTS($4)
	TESTQ DX, DX
	JZ    done
	MOVOU 16(AX), X1
	MOVOU 32(AX), X2
	MOVOU 48(AX), X3
	MOVOU 64(AX), X4
	MOVOU 80(AX), X5
	MOVOU 96(AX), X6
	MOVOU 112(AX), X7
	MOVOU 128(AX), X8
	MOVOU 144(AX), X9
	MOVOU 160(AX), X10
	MOVOU 176(AX), X11
	MOVOU 192(AX), X12
	MOVOU 208(AX), X13
	MOVOU (R8), X14
	MOVOU (AX), X15
	MOVOU (BX), X0
	PXOR  X15, X14
	PXOR  X15, X0

block:
	MOVOU      (SI), X15
	PXOR       X14, X15
	AESENC     X1, X0
	AESENC     X2, X0
	AESENC     X3, X0
	AESENC     X4, X0
	AESENC     X5, X0
	AESENC     X6, X0
	AESENC     X7, X0
	AESENC     X8, X0
	AESENC     X9, X0
	CMPQ       CX, $12
	JB         final
	AESENC     X10, X0
	AESENC     X11, X0
	JE         final
	AESENC     X12, X0
	AESENC     X13, X0

final:
	AESENCLAST X15, X0
	MOVOU      (AX), X15
	PXOR       X0, X15 // the ciphertext
	MOVOU      X15, (DI)
	ADDQ       $16, SI
	ADDQ       $16, DI
	DECQ       DX
	JNZ        block
	MOVOU      X15, (BX)

done:
	RET

// EIGHT does the same to eight blocks, with the round key in X8.
#define EIGHT(op) \
	op X8, X0 \
	op X8, X1 \
	op X8, X2 \
	op X8, X3 \
	op X8, X4 \
	op X8, X5 \
	op X8, X6 \
	op X8, X7

#define ROUND(n) \
	MOVOU (16*n)(AX), X8 \
	EIGHT(AESENC)

// func decryptEights(rounds int, w *schedule, last *[BlockSize]byte, dst, src []byte)
//
// X0 to X7 are blocks, X9 is the ciphertext block before them and then the last
// of them: in place, it is gone from memory when the next turn needs it.
TEXT ·decryptEights(SB), NOSPLIT, $0-72
	ARGUMENTS($7)
	TESTQ DX, DX
	JZ    done
	MOVOU (BX), X9

group:
	MOVOU X9, X0
	MOVOU (SI), X1
	MOVOU 16(SI), X2
	MOVOU 32(SI), X3
	MOVOU 48(SI), X4
	MOVOU 64(SI), X5
	MOVOU 80(SI), X6
	MOVOU 96(SI), X7
	MOVOU 112(SI), X9

	MOVOU (AX), X8
	EIGHT(PXOR)
	ROUND(1)
	ROUND(2)
	ROUND(3)
	ROUND(4)
	ROUND(5)
	ROUND(6)
	ROUND(7)
	ROUND(8)
	ROUND(9)
	CMPQ  CX, $12
	JB    final
	ROUND(10)
	ROUND(11)
	JE    final
	ROUND(12)
	ROUND(13)

final:
	MOVOU (R8), X8
	EIGHT(AESENCLAST)
	MOVOU (SI), X10
	MOVOU 16(SI), X11
	MOVOU 32(SI), X12
	MOVOU 48(SI), X13
	MOVOU 64(SI), X14
	MOVOU 80(SI), X15
	MOVOU 96(SI), X8
	PXOR  X10, X0
	PXOR  X11, X1
	PXOR  X12, X2
	PXOR  X13, X3
	PXOR  X14, X4
	PXOR  X15, X5
	PXOR  X8, X6
	PXOR  X9, X7
	MOVOU X0, (DI)
	MOVOU X1, 16(DI)
	MOVOU X2, 32(DI)
	MOVOU X3, 48(DI)
	MOVOU X4, 64(DI)
	MOVOU X5, 80(DI)
	MOVOU X6, 96(DI)
	MOVOU X7, 112(DI)
	ADDQ  $128, SI
	ADDQ  $128, DI
	DECQ  DX
	JNZ   group
	MOVOU X9, (BX)

done:
	RET

// EIGHT512 does the same to eight registers of four blocks each.
#define EIGHT512(op, key) \
	op key, Z0, Z0 \
	op key, Z1, Z1 \
	op key, Z2, Z2 \
	op key, Z3, Z3 \
	op key, Z4, Z4 \
	op key, Z5, Z5 \
	op key, Z6, Z6 \
	op key, Z7, Z7

// LOAD512 gets four blocks of ciphertext, and the four that begin one block
// before: what they are decrypted with. before has that block on top.
#define LOAD512(offset, before, four, shifted) \
	VMOVDQU64 offset(SI), four         \
	VALIGNQ   $6, before, four, shifted

#define STORE512(offset, four, stream) \
	VPXORQ    four, stream, stream \
	VMOVDQU64 stream, offset(DI)

// func decryptThirtyTwos(rounds int, w *schedule, last *[BlockSize]byte, dst, src []byte)
//
// Z0 to Z7 are blocks, Z8 to Z15 their ciphertext, Z16 to Z29 the round keys and
// Z30 the last one, four times each; Z31 has the ciphertext block before on top.
TEXT ·decryptThirtyTwos(SB), NOSPLIT, $0-72
	ARGUMENTS($9)
	VBROADCASTI32X4 (AX), Z16
	VBROADCASTI32X4 16(AX), Z17
	VBROADCASTI32X4 32(AX), Z18
	VBROADCASTI32X4 48(AX), Z19
	VBROADCASTI32X4 64(AX), Z20
	VBROADCASTI32X4 80(AX), Z21
	VBROADCASTI32X4 96(AX), Z22
	VBROADCASTI32X4 112(AX), Z23
	VBROADCASTI32X4 128(AX), Z24
	VBROADCASTI32X4 144(AX), Z25
	VBROADCASTI32X4 160(AX), Z26
	VBROADCASTI32X4 176(AX), Z27
	VBROADCASTI32X4 192(AX), Z28
	VBROADCASTI32X4 208(AX), Z29
	VBROADCASTI32X4 (R8), Z30
	VBROADCASTI32X4 (BX), Z31

group:
	LOAD512(0, Z31, Z8, Z0)
	LOAD512(64, Z8, Z9, Z1)
	LOAD512(128, Z9, Z10, Z2)
	LOAD512(192, Z10, Z11, Z3)
	LOAD512(256, Z11, Z12, Z4)
	LOAD512(320, Z12, Z13, Z5)
	LOAD512(384, Z13, Z14, Z6)
	LOAD512(448, Z14, Z15, Z7)
	VMOVDQA64 Z15, Z31

	EIGHT512(VPXORQ, Z16)
	EIGHT512(VAESENC, Z17)
	EIGHT512(VAESENC, Z18)
	EIGHT512(VAESENC, Z19)
	EIGHT512(VAESENC, Z20)
	EIGHT512(VAESENC, Z21)
	EIGHT512(VAESENC, Z22)
	EIGHT512(VAESENC, Z23)
	EIGHT512(VAESENC, Z24)
	EIGHT512(VAESENC, Z25)
	CMPQ CX, $12
	JB   final
	EIGHT512(VAESENC, Z26)
	EIGHT512(VAESENC, Z27)
	JE   final
	EIGHT512(VAESENC, Z28)
	EIGHT512(VAESENC, Z29)

final:
	EIGHT512(VAESENCLAST, Z30)
	STORE512(0, Z8, Z0)
	STORE512(64, Z9, Z1)
	STORE512(128, Z10, Z2)
	STORE512(192, Z11, Z3)
	STORE512(256, Z12, Z4)
	STORE512(320, Z13, Z5)
	STORE512(384, Z14, Z6)
	STORE512(448, Z15, Z7)
	ADDQ $512, SI
	ADDQ $512, DI
	DECQ DX
	JNZ  group

	VEXTRACTI32X4 $3, Z31, (BX)
	VZEROUPPER // what is left in upper halves slows down SSE instructions after it
	RET
