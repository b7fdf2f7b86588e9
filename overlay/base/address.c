/* Which addresses and domains there may be.  Narrower than RFC 5322 on
 * purpose: no quoted local parts, comments or address literals, since an
 * address is also a directory's name, a line in logs and an argument of
 * commands. */
#include "overlay/base/keys.h"

#include <string.h>

#define LOCAL_MAX 64 /* RFC 5321, 4.5.3.1.1 */
#define LABEL_MAX 63 /* RFC 1035, 2.3.4 */
#define DOMAIN_MAX 253 /* in the text form */

static bool
is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool
domain_check(const char *domain)
{
	if (strlen(domain) > DOMAIN_MAX)
		return false;
	for (;;) {
		size_t n = strcspn(domain, ".");

		if (n == 0 || n > LABEL_MAX || domain[0] == '-' ||
		    domain[n - 1] == '-')
			return false;
		for (size_t i = 0; i < n; i++)
			if (!is_letter_or_digit(domain[i]) && domain[i] != '-')
				return false;
		if (domain[n] == '\0')
			return true;
		domain += n + 1;
	}
}

/* dot-atom (RFC 5322, 3.2.3), but for '/'. */
static bool
local_check(const char *local, size_t len)
{
	if (len == 0 || len > LOCAL_MAX || local[len - 1] == '.')
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = local[i];

		if (c == '.' && (i == 0 || local[i - 1] == '.'))
			return false;
		if (!is_letter_or_digit(c) && !(c >= 'A' && c <= 'Z') &&
		    !strchr(".!#$%&'*+-=?^_`{|}~", c))
			return false;
	}
	return true;
}

bool
address_check(const char *address)
{
	size_t local = strcspn(address, "@");

	return strlen(address) <= ADDRESS_MAX && address[local] == '@' &&
	       local_check(address, local) && domain_check(address + local + 1);
}
