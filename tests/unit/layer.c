/* SPDX-License-Identifier: MIT */
/*
 * layer.c: the program that a whole layer is linked into, with nothing but the libraries that it may use. A call of
 * a function of a layer above, or beside, leaves a symbol undefined, and the program doesn't link.
 */
int main(void)
{
	return 0;
}
