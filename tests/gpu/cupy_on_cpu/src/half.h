// IEEE half precision: a sign, five bits of exponent, ten of fraction.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

static inline float half_to_float(uint16_t bits) {
    uint32_t exponent = bits >> 10 & 31, fraction = bits & 1023;
    float magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                      : exponent     ? ldexpf(float(1024 + fraction), int(exponent) - 25)
                                     : ldexpf(float(fraction), -24);  // subnormal
    return bits & 0x8000 ? -magnitude : magnitude;
}

static inline uint16_t float_to_half(float value) {  // to nearest, ties to even
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000;
    float magnitude = fabsf(value);
    if (magnitude != magnitude) return uint16_t(sign | 0x7E00);
    if (magnitude >= 65520.0f) return uint16_t(sign | 0x7C00);                            // rounds to infinity
    if (magnitude < 0x1p-14f) return uint16_t(sign | uint16_t(lrintf(magnitude * 0x1p24f)));  // subnormal
    memcpy(&bits, &magnitude, sizeof bits);
    bits += 0xFFF + (bits >> 13 & 1);
    return uint16_t(sign | ((bits >> 13) - (112 << 10)));
}
