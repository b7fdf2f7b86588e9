#include "store/dictionary.h"

/* The assembler includes the file as it is; 16 for the sake of wide loads. */
__asm__(".section .rodata\n"
	".balign 16\n"
	".globl dictionary_1\n"
	".hidden dictionary_1\n"
	"dictionary_1:\n"
	".incbin \"" DICTIONARY_1_FILE "\"\n"
	".globl dictionary_1_end\n"
	".hidden dictionary_1_end\n"
	"dictionary_1_end:\n"
	".byte 0\n"
	".previous\n");

extern const uint8_t dictionary_1_end[];

size_t
dictionary_1_len(void)
{
	return (size_t)(dictionary_1_end - dictionary_1);
}
