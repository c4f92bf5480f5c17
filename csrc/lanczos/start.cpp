// Start vectors by address.
#include <algorithm>

#include "core/normal.hpp"
#include "core/philox.hpp"
#include "lanczos/lanczos.hpp"

namespace nnqft {

double draw_start(StartLaw law, std::uint64_t seed, std::uint64_t probe, std::int64_t n, double* v) {
    const PhiloxKey key = philox_key(seed);
    double sum = 0.0;
    for (std::int64_t i = 0; i < n; i += 4) {
        const auto group = static_cast<std::uint64_t>(i) / 4;
        std::uint32_t word[4] = {static_cast<std::uint32_t>(group), static_cast<std::uint32_t>(group >> 32), static_cast<std::uint32_t>(probe),
                                 static_cast<std::uint32_t>(probe >> 32)};
        philox_rounds(word[0], word[1], word[2], word[3], key, 0);
        double x[4];
        if (law == StartLaw::rademacher) {
            for (int l = 0; l < 4; ++l) x[l] = word[l] >> 31 ? -1.0 : 1.0;
        } else {
            float z[4];
            normal_pair(word[0], word[1], 1.0f, z[0], z[1]);
            normal_pair(word[2], word[3], 1.0f, z[2], z[3]);
            for (int l = 0; l < 4; ++l) x[l] = static_cast<double>(z[l]);
        }
        for (std::int64_t l = 0; l < std::min<std::int64_t>(4, n - i); ++l) {
            v[i + l] = x[l];
            sum += x[l] * x[l];
        }
    }
    return law == StartLaw::gaussian ? sum : static_cast<double>(n);
}

}  // namespace nnqft
