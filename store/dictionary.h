/* dictionary.h - what every program of this format version knows about mail
 * before it has seen any: the zstd dictionary of block codec 1.
 *
 * The bytes are format: a block sealed with one dictionary can not be opened
 * with another, so a changed dictionary is a new codec.  Made by
 * tools/train_dictionary.c, linked in from dictionary_1.bin. */
#ifndef POST_STORE_DICTIONARY_H
#define POST_STORE_DICTIONARY_H

#include <stddef.h>
#include <stdint.h>

#define DICTIONARY_MAX (256u << 10)

extern const uint8_t dictionary_1[];
size_t dictionary_1_len(void);

#endif
