/* Any bytes as a pack: the walk ends, meets every byte once, in order, and
 * what it takes for a frame is one. */
#include "store/pack.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void
must(int ok)
{
	if (!ok)
		abort();
}

struct cover {
	const uint8_t *bytes;
	size_t len;
	uint64_t at;
	int damaged; /* the last thing was damage */
};

static enum err
see(void *arg, const struct frame_place *at, const uint8_t *bytes, size_t len)
{
	struct cover *c = arg;

	if (c->at == 0 && at->off == PACK_HEADER)
		c->at = PACK_HEADER; /* a good header is passed in silence */
	must(at->off == c->at && len > 0);
	if (at->e) {
		must(at->e == ERR_CORRUPT && !bytes && !c->damaged);
		c->damaged = 1;
		c->at += len;
	} else {
		must(at->type == FRAME_BLOCK || at->type == FRAME_HEAD);
		must(len <= BLOCK_MAX && at->off % FRAME_ALIGN == 0);
		must(at->off + FRAME_HEADER + len <= c->len);
		must(
		    memcmp(bytes, c->bytes + at->off + FRAME_HEADER, len) == 0);
		c->damaged = 0;
		c->at += frame_size(len);
	}
	must(c->at <= c->len);
	return OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cover c = { bytes, len, 0, 0 };
	struct disk_file *file;
	struct disk *d;

	must(disk_mem_new(1, &d) == OK);
	must(disk_mkdir(d, PACK_DIR) == OK);
	must(disk_open(d, PACK_DIR "/00000001", DISK_EXCL, &file) == OK);
	must(disk_write(file, 0, bytes, len) == OK);
	must(blockdb_walk(d, see, &c) == OK);
	if (c.at == 0 && len == PACK_HEADER)
		c.at = PACK_HEADER; /* a header alone */
	must(c.at == len);
	disk_file_close(file);
	disk_close(d);
	return 0;
}
