#include "overlay/base/outcome.h"

#include <assert.h>
#include <errno.h>

static const struct {
	const char *name, *text;
	int number;
} outcomes[ERR_COUNT] = {
#define ERR_ROW(name, number, text) [name] = { #name, text, number },
	ERR_LIST(ERR_ROW)
#undef ERR_ROW
};

const char *
err_text(enum err e)
{
	assert((unsigned)e < ERR_COUNT);
	return outcomes[e].text;
}

const char *
err_name(enum err e)
{
	assert((unsigned)e < ERR_COUNT);
	return outcomes[e].name;
}

int
err_errno(enum err e)
{
	assert((unsigned)e < ERR_COUNT);
	return outcomes[e].number;
}

enum err
err_from_errno(int number)
{
	switch (number) {
	case EBADMSG:
		return ERR_MALFORMED;
	case EIO:
		return ERR_IO;
	}
	for (unsigned e = 0; e < ERR_COUNT; e++)
		if (outcomes[e].number == number)
			return (enum err)e;
	return ERR_IO;
}
