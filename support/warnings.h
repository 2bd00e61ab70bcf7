/* Included before every source file (Makefile.am): the warnings of -Wall -Wextra that this code does not heed.
 *
 * They are pragmas and no -Wno- flags because CFLAGS stand behind the project's own flags, and with clang a -Wextra
 * that comes later switches them on again. */
#ifndef MPX_WARNINGS_H
#define MPX_WARNINGS_H

/* a hook has the parameters that httpd gives it, whether it uses them or not */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#ifdef __clang__
/* { NULL } ends a table of directives; gcc knows the idiom */
#pragma clang diagnostic ignored "-Wmissing-field-initializers"
/* the ring macros of APR subtract a null pointer */
#if __has_warning("-Wnull-pointer-subtraction")
#pragma clang diagnostic ignored "-Wnull-pointer-subtraction"
#endif
#endif

#endif
