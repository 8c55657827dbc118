#!/usr/bin/env python3
"""Checks a Mach-O program that no Mac is here to run: for which processor and since which macOS it is, and, on Apple's own
processors, which run nothing unsigned, that its (ad-hoc) signature fits every page of it.

    check.py PROGRAM aarch64|x86_64 OLDEST-MACOS
"""

import hashlib
import struct
import sys

PROCESSORS = {"x86_64": 0x01000007, "aarch64": 0x0100000C}
MAGIC_64 = 0xFEEDFACF
LC_CODE_SIGNATURE, LC_BUILD_VERSION = 0x1D, 0x32
EMBEDDED_SIGNATURE, CODE_DIRECTORY = 0xFADE0CC0, 0xFADE0C02
PLATFORM_MACOS, SHA256 = 1, 2


def main() -> None:
    path, processor, oldest = sys.argv[1:]
    with open(path, "rb") as file:
        program = file.read()
    magic, cpu, _, _, count, _, _, _ = struct.unpack_from("<8I", program)
    require(magic == MAGIC_64, "is no Mach-O program")
    require(cpu == PROCESSORS[processor], f"is not for {processor}")
    commands, at = {}, 32
    for _ in range(count):
        kind, size = struct.unpack_from("<2I", program, at)
        commands.setdefault(kind, at)
        at += size
    require(LC_BUILD_VERSION in commands, "does not say which macOS it is for")
    platform, least = struct.unpack_from("<2I", program, commands[LC_BUILD_VERSION] + 8)
    version = (least >> 16, least >> 8 & 0xFF)
    require(platform == PLATFORM_MACOS, "is not for macOS")
    require(version <= tuple(int(part) for part in oldest.split(".")), f"needs macOS {version[0]}.{version[1]}")
    if LC_CODE_SIGNATURE in commands:
        check_signature(program, commands[LC_CODE_SIGNATURE])
    else:
        require(processor != "aarch64", "is not signed, so no Mac runs it")


def check_signature(program: bytes, command: int) -> None:
    start, _ = struct.unpack_from("<2I", program, command + 8)
    magic, _, count = struct.unpack_from(">3I", program, start)
    require(magic == EMBEDDED_SIGNATURE, "has a signature that is none")
    directories = [
        start + offset
        for kind, offset in struct.iter_unpack(">2I", program[start + 12 : start + 12 + 8 * count])
        if struct.unpack_from(">I", program, start + offset)[0] == CODE_DIRECTORY
    ]
    require(directories, "has a signature of nothing")
    for directory in directories:
        _, _, _, _, hashes, _, _, slots, limit = struct.unpack_from(">9I", program, directory)
        hash_size, hash_type, _, page_bits = struct.unpack_from(">4B", program, directory + 36)
        if hash_type != SHA256:
            continue
        page = 1 << page_bits
        require(slots == -(-limit // page), "has pages that are not signed")
        for slot in range(slots):
            digest = hashlib.sha256(program[slot * page : min((slot + 1) * page, limit)]).digest()[:hash_size]
            at = directory + hashes + slot * hash_size
            require(digest == program[at : at + hash_size], f"was changed after it was signed (page {slot})")


def require(holds: object, complaint: str) -> None:
    if not holds:
        sys.exit(f"{sys.argv[1]} {complaint}.")


main()
