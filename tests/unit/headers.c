/* SPDX-License-Identifier: MIT */
/* headers.c: links what the public headers compiled to; that they compile is what is tested. */
int main(void)
{
	return 0;
}
