#include "textflag.h"

// Both streams are done at once, the first in the lower and the second in the
// upper half of 256-bit registers:
//
// A word of the state has a register, and its lower 64 bits in either half. What
// is above them is no more than left over, and goes nowhere but up.
//
// W has two words of one stream in either half, so that the message schedule
// makes four words at once. Its lower words are at the place for a round as they
// are, the upper ones after an unpack.
//
// AX and BX have where the states are kept, SI and DI where the blocks come from,
// DX the number of blocks to do, R8 the constants of the rounds to come, CX the
// number of times that the schedule goes on; Y0 to Y7 W, Y8 how bytes are swapped,
// Y9 to Y15 what is short-lived, Y16 to Y23 the working state (a to h), Y24 to Y31
// the state before the block.

// KEEP loads one word of both states.
#define KEEP(n, word) \
	VMOVQ       (8*n)(AX), X9   \
	VMOVQ       (8*n)(BX), X10  \
	VINSERTI128 $1, X10, Y9, Y9 \
	VMOVDQA64   Y9, word

// GIVE stores one word of both states.
#define GIVE(n, word) \
	VMOVDQA64    word, Y9        \
	VEXTRACTI128 $1, Y9, X10     \
	VMOVQ        X9, (8*n)(AX)   \
	VMOVQ        X10, (8*n)(BX)

// LOAD gets two words of both blocks.
#define LOAD(n, w, x) \
	VMOVDQU     (16*n)(SI), x        \
	VINSERTI128 $1, (16*n)(DI), w, w \
	VPSHUFB     Y8, w, w

// ROUND has in wk the word and the constant. Instead of moving all words on, it
// leaves the new a in h, and the new e in d. The next round waits for that e: so
// Sigma1, the last to be known, is added to d itself, and not by way of h.
#define ROUND(a, b, c, d, e, f, g, h, wk) \
	VPADDQ     wk, h, h             \
	VMOVDQA64  e, Y11               \
	VPTERNLOGQ $0xca, g, f, Y11     \ // Ch
	VPRORQ     $14, e, Y12          \
	VPRORQ     $18, e, Y13          \
	VPRORQ     $41, e, Y14          \
	VPADDQ     Y11, h, h            \
	VPTERNLOGQ $0x96, Y12, Y13, Y14 \ // Sigma1: xor of three
	VPADDQ     h, d, d              \
	VPADDQ     Y14, d, d            \
	VPADDQ     Y14, h, h            \
	VMOVDQA64  a, Y15               \
	VPTERNLOGQ $0xe8, c, b, Y15     \ // Maj
	VPRORQ     $28, a, Y12          \
	VPRORQ     $34, a, Y13          \
	VPRORQ     $39, a, Y11          \
	VPTERNLOGQ $0x96, Y12, Y13, Y11 \ // Sigma0
	VPADDQ     Y15, h, h            \
	VPADDQ     Y11, h, h

// ROUNDS does two rounds, with the two words of w.
#define ROUNDS(n, w, a, b, c, d, e, f, g, h) \
	VPADDQ      (32*n)(R8), w, Y9 \
	VPUNPCKHQDQ Y9, Y9, Y10       \
	ROUND(a, b, c, d, e, f, g, h, Y9) \
	ROUND(h, a, b, c, d, e, f, g, Y10)

// SCHEDULE replaces w0, used, by the two words 16 rounds on: w0 to w7 are the
// last 16 words from the oldest on.
#define SCHEDULE(w0, w1, w4, w5, w7) \
	VPALIGNR   $8, w0, w1, Y9       \ // one word after w0's
	VPALIGNR   $8, w4, w5, Y10      \ // nine
	VPRORQ     $1, Y9, Y11          \
	VPRORQ     $8, Y9, Y12          \
	VPSRLQ     $7, Y9, Y9           \
	VPADDQ     Y10, w0, w0          \
	VPTERNLOGQ $0x96, Y11, Y12, Y9  \
	VPRORQ     $19, w7, Y13         \
	VPRORQ     $61, w7, Y14         \
	VPSRLQ     $6, w7, Y15          \
	VPADDQ     Y9, w0, w0           \
	VPTERNLOGQ $0x96, Y13, Y14, Y15 \
	VPADDQ     Y15, w0, w0

// func blocks2(s0, s1 *[8]uint64, p0, p1 *byte, n int)
TEXT ·blocks2(SB), NOSPLIT, $0-40
	MOVQ           s0+0(FP), AX
	MOVQ           s1+8(FP), BX
	MOVQ           p0+16(FP), SI
	MOVQ           p1+24(FP), DI
	MOVQ           n+32(FP), DX
	TESTQ          DX, DX
	JZ             done
	VBROADCASTI128 swap<>(SB), Y8
	KEEP(0, Y24)
	KEEP(1, Y25)
	KEEP(2, Y26)
	KEEP(3, Y27)
	KEEP(4, Y28)
	KEEP(5, Y29)
	KEEP(6, Y30)
	KEEP(7, Y31)

block:
	LOAD(0, Y0, X0)
	LOAD(1, Y1, X1)
	LOAD(2, Y2, X2)
	LOAD(3, Y3, X3)
	LOAD(4, Y4, X4)
	LOAD(5, Y5, X5)
	LOAD(6, Y6, X6)
	LOAD(7, Y7, X7)
	VMOVDQA64 Y24, Y16
	VMOVDQA64 Y25, Y17
	VMOVDQA64 Y26, Y18
	VMOVDQA64 Y27, Y19
	VMOVDQA64 Y28, Y20
	VMOVDQA64 Y29, Y21
	VMOVDQA64 Y30, Y22
	VMOVDQA64 Y31, Y23
	LEAQ      k<>(SB), R8
	MOVQ      $4, CX

sixteen:
	ROUNDS(0, Y0, Y16, Y17, Y18, Y19, Y20, Y21, Y22, Y23)
	SCHEDULE(Y0, Y1, Y4, Y5, Y7)
	ROUNDS(1, Y1, Y22, Y23, Y16, Y17, Y18, Y19, Y20, Y21)
	SCHEDULE(Y1, Y2, Y5, Y6, Y0)
	ROUNDS(2, Y2, Y20, Y21, Y22, Y23, Y16, Y17, Y18, Y19)
	SCHEDULE(Y2, Y3, Y6, Y7, Y1)
	ROUNDS(3, Y3, Y18, Y19, Y20, Y21, Y22, Y23, Y16, Y17)
	SCHEDULE(Y3, Y4, Y7, Y0, Y2)
	ROUNDS(4, Y4, Y16, Y17, Y18, Y19, Y20, Y21, Y22, Y23)
	SCHEDULE(Y4, Y5, Y0, Y1, Y3)
	ROUNDS(5, Y5, Y22, Y23, Y16, Y17, Y18, Y19, Y20, Y21)
	SCHEDULE(Y5, Y6, Y1, Y2, Y4)
	ROUNDS(6, Y6, Y20, Y21, Y22, Y23, Y16, Y17, Y18, Y19)
	SCHEDULE(Y6, Y7, Y2, Y3, Y5)
	ROUNDS(7, Y7, Y18, Y19, Y20, Y21, Y22, Y23, Y16, Y17)
	SCHEDULE(Y7, Y0, Y3, Y4, Y6)
	ADDQ $256, R8
	DECQ CX
	JNZ  sixteen

	ROUNDS(0, Y0, Y16, Y17, Y18, Y19, Y20, Y21, Y22, Y23)
	ROUNDS(1, Y1, Y22, Y23, Y16, Y17, Y18, Y19, Y20, Y21)
	ROUNDS(2, Y2, Y20, Y21, Y22, Y23, Y16, Y17, Y18, Y19)
	ROUNDS(3, Y3, Y18, Y19, Y20, Y21, Y22, Y23, Y16, Y17)
	ROUNDS(4, Y4, Y16, Y17, Y18, Y19, Y20, Y21, Y22, Y23)
	ROUNDS(5, Y5, Y22, Y23, Y16, Y17, Y18, Y19, Y20, Y21)
	ROUNDS(6, Y6, Y20, Y21, Y22, Y23, Y16, Y17, Y18, Y19)
	ROUNDS(7, Y7, Y18, Y19, Y20, Y21, Y22, Y23, Y16, Y17)

	VPADDQ Y16, Y24, Y24
	VPADDQ Y17, Y25, Y25
	VPADDQ Y18, Y26, Y26
	VPADDQ Y19, Y27, Y27
	VPADDQ Y20, Y28, Y28
	VPADDQ Y21, Y29, Y29
	VPADDQ Y22, Y30, Y30
	VPADDQ Y23, Y31, Y31
	ADDQ   $128, SI
	ADDQ   $128, DI
	DECQ   DX
	JNZ    block

	GIVE(0, Y24)
	GIVE(1, Y25)
	GIVE(2, Y26)
	GIVE(3, Y27)
	GIVE(4, Y28)
	GIVE(5, Y29)
	GIVE(6, Y30)
	GIVE(7, Y31)
	VZEROUPPER // what is left in upper halves, to 15, slows down SSE instructions after it

done:
	RET

// swap turns big-endian words around.
DATA swap<>+0(SB)/8, $0x0001020304050607
DATA swap<>+8(SB)/8, $0x08090a0b0c0d0e0f
GLOBL swap<>(SB), RODATA|NOPTR, $16

// k has FIPS 180-4's constants, every two of them for both halves.
#define K(n, x, y) \
	DATA k<>+(32*n+0)(SB)/8, $x  \
	DATA k<>+(32*n+8)(SB)/8, $y  \
	DATA k<>+(32*n+16)(SB)/8, $x \
	DATA k<>+(32*n+24)(SB)/8, $y

K(0, 0x428a2f98d728ae22, 0x7137449123ef65cd)
K(1, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc)
K(2, 0x3956c25bf348b538, 0x59f111f1b605d019)
K(3, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118)
K(4, 0xd807aa98a3030242, 0x12835b0145706fbe)
K(5, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2)
K(6, 0x72be5d74f27b896f, 0x80deb1fe3b1696b1)
K(7, 0x9bdc06a725c71235, 0xc19bf174cf692694)
K(8, 0xe49b69c19ef14ad2, 0xefbe4786384f25e3)
K(9, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65)
K(10, 0x2de92c6f592b0275, 0x4a7484aa6ea6e483)
K(11, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5)
K(12, 0x983e5152ee66dfab, 0xa831c66d2db43210)
K(13, 0xb00327c898fb213f, 0xbf597fc7beef0ee4)
K(14, 0xc6e00bf33da88fc2, 0xd5a79147930aa725)
K(15, 0x06ca6351e003826f, 0x142929670a0e6e70)
K(16, 0x27b70a8546d22ffc, 0x2e1b21385c26c926)
K(17, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df)
K(18, 0x650a73548baf63de, 0x766a0abb3c77b2a8)
K(19, 0x81c2c92e47edaee6, 0x92722c851482353b)
K(20, 0xa2bfe8a14cf10364, 0xa81a664bbc423001)
K(21, 0xc24b8b70d0f89791, 0xc76c51a30654be30)
K(22, 0xd192e819d6ef5218, 0xd69906245565a910)
K(23, 0xf40e35855771202a, 0x106aa07032bbd1b8)
K(24, 0x19a4c116b8d2d0c8, 0x1e376c085141ab53)
K(25, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8)
K(26, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb)
K(27, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3)
K(28, 0x748f82ee5defb2fc, 0x78a5636f43172f60)
K(29, 0x84c87814a1f0ab72, 0x8cc702081a6439ec)
K(30, 0x90befffa23631e28, 0xa4506cebde82bde9)
K(31, 0xbef9a3f7b2c67915, 0xc67178f2e372532b)
K(32, 0xca273eceea26619c, 0xd186b8c721c0c207)
K(33, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178)
K(34, 0x06f067aa72176fba, 0x0a637dc5a2c898a6)
K(35, 0x113f9804bef90dae, 0x1b710b35131c471b)
K(36, 0x28db77f523047d84, 0x32caab7b40c72493)
K(37, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c)
K(38, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a)
K(39, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817)
GLOBL k<>(SB), RODATA|NOPTR, $1280
