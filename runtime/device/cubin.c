/* What a kernel uses, read from its cubin: an ELF64 file of NVIDIA's machine. The kernel NAME is a
 * symbol; its registers, stack and shared memory stand in
 *     .nv.info          attributes of functions: (format, attribute, size, symbol, value)
 *     .text.NAME        up to ABI 7 the upper byte of sh_info is the number of registers
 *     .nv.shared.NAME   its size: static shared memory, from sm_90 on with 1 KiB of the driver's
 * Nothing in the file is trusted: each offset is checked against its size. */
#include "gpu.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

/* Attributes of .nv.info, as cuobjdump names them. */
enum { EIATTR_FRAME_SIZE = 0x11, EIATTR_MIN_STACK_SIZE = 0x12, EIATTR_MAX_STACK_SIZE = 0x23 };
enum { EIATTR_REGCOUNT = 0x2f };
/* An attribute's form: followed by a 16-bit size and bytes; all others take four bytes in all. */
enum { EIFMT_SVAL = 4 };
enum { MACHINE_CUDA = 190, RESERVED_SHARED = 1024, MAX_NAME = 256 };

typedef struct Cubin {
    const unsigned char *bytes;
    size_t size;
    Elf64_Ehdr header;
    Elf64_Shdr names; /* section of the sections' names */
} Cubin;

static bool holds(const Cubin *c, uint64_t offset, uint64_t bytes)
{
    return offset <= c->size && bytes <= c->size - offset;
}

static bool section(const Cubin *c, unsigned index, Elf64_Shdr *out)
{
    uint64_t at = c->header.e_shoff + (uint64_t)index * sizeof *out;
    if (index >= c->header.e_shnum || c->header.e_shoff > c->size || !holds(c, at, sizeof *out))
        return false;
    memcpy(out, c->bytes + at, sizeof *out);
    return out->sh_type == SHT_NOBITS || holds(c, out->sh_offset, out->sh_size);
}

/* Whether the text at `offset` of a string section is `prefix` and `name`. */
static bool is_named(const Cubin *c, const Elf64_Shdr *strings, uint64_t offset,
                     const char *prefix, const char *name)
{
    char text[MAX_NAME + 32];
    int length = snprintf(text, sizeof text, "%s%s", prefix, name);
    return (size_t)length < sizeof text && strings->sh_type != SHT_NOBITS &&
           offset < strings->sh_size && strings->sh_size - offset > (uint64_t)length &&
           memcmp(c->bytes + strings->sh_offset + offset, text, (size_t)length + 1) == 0;
}

static bool find_section(const Cubin *c, const char *prefix, const char *name, Elf64_Shdr *out)
{
    for (unsigned i = 0; i < c->header.e_shnum; i++)
        if (section(c, i, out) && is_named(c, &c->names, out->sh_name, prefix, name))
            return true;
    return false;
}

static bool open_cubin(Cubin *c, const void *bytes, size_t size)
{
    static const unsigned char ident[] = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB};
    *c = (Cubin){.bytes = bytes, .size = size};
    if (size < sizeof c->header)
        return false;
    memcpy(&c->header, bytes, sizeof c->header);
    return memcmp(c->header.e_ident, ident, sizeof ident) == 0 &&
           c->header.e_machine == MACHINE_CUDA && c->header.e_shentsize == sizeof(Elf64_Shdr) &&
           section(c, c->header.e_shstrndx, &c->names);
}

/* The index of the kernel's symbol, by which .nv.info names it; 0: none. */
static uint32_t find_symbol(const Cubin *c, const char *kernel)
{
    Elf64_Shdr symbols, strings;
    Elf64_Sym symbol;
    if (!find_section(c, ".symtab", "", &symbols) || symbols.sh_type != SHT_SYMTAB ||
        !section(c, symbols.sh_link, &strings))
        return 0;
    for (uint32_t i = 1; i < symbols.sh_size / sizeof symbol; i++) {
        memcpy(&symbol, c->bytes + symbols.sh_offset + i * sizeof symbol, sizeof symbol);
        if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC &&
            is_named(c, &strings, symbol.st_name, "", kernel))
            return i;
    }
    return 0;
}

static void take(CubinUsage *usage, unsigned attribute, uint32_t value)
{
    int number = value > INT32_MAX ? INT32_MAX : (int)value;
    switch (attribute) {
    case EIATTR_REGCOUNT: usage->registers = number; break;
    case EIATTR_FRAME_SIZE:
    case EIATTR_MIN_STACK_SIZE:
    case EIATTR_MAX_STACK_SIZE:
        if (number > usage->local_bytes)
            usage->local_bytes = number;
        break;
    default: break;
    }
}

static void read_attributes(const Cubin *c, const Elf64_Shdr *info, uint32_t symbol,
                            CubinUsage *usage)
{
    const unsigned char *at = c->bytes + info->sh_offset, *end = at + info->sh_size;
    while (end - at >= 4) {
        unsigned size = at[2] | (unsigned)at[3] << 8;
        bool sized = at[0] == EIFMT_SVAL;
        if (sized && size > (size_t)(end - at) - 4)
            return;
        uint32_t pair[2];
        if (sized && size == sizeof pair) {
            memcpy(pair, at + 4, sizeof pair);
            if (pair[0] == symbol)
                take(usage, at[1], pair[1]);
        }
        at += 4 + (sized ? size : 0);
    }
}

static int shared_bytes(const Cubin *c, const char *kernel)
{
    Elf64_Shdr shared, reserved;
    if (!find_section(c, ".nv.shared.", kernel, &shared) || shared.sh_size > INT32_MAX)
        return 0;
    int bytes = (int)shared.sh_size;
    bool own = find_section(c, ".nv.shared.reserved.0", "", &reserved);
    return own && bytes >= RESERVED_SHARED ? bytes - RESERVED_SHARED : bytes;
}

int cubin_usage(const void *cubin, size_t size, const char *kernel, CubinUsage *out)
{
    Cubin c;
    Elf64_Shdr text, info;
    if (strlen(kernel) > MAX_NAME || !open_cubin(&c, cubin, size))
        return -1;
    uint32_t symbol = find_symbol(&c, kernel);
    if (symbol == 0 || !find_section(&c, ".text.", kernel, &text))
        return -1;
    *out = (CubinUsage){.registers = (int)(text.sh_info >> 24)};
    if (find_section(&c, ".nv.info", "", &info) && info.sh_type != SHT_NOBITS)
        read_attributes(&c, &info, symbol, out);
    out->shared_bytes = shared_bytes(&c, kernel);
    return out->registers > 0 ? 0 : -1;
}
