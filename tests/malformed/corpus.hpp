#pragma once
// Every case of the catalogue that needs no model.

#include <malformed/cases_config.hpp>
#include <malformed/cases_data.hpp>
#include <malformed/cases_entries.hpp>
#include <malformed/cases_framing.hpp>
#include <malformed/cases_index.hpp>
#include <malformed/cases_json.hpp>
#include <malformed/cases_tokenizer.hpp>

#include <iterator>

namespace malformed {

inline Cases corpus() {
    Cases all;
    for (Cases part :
         {framing_cases(), json_cases(), metadata_cases(), type_cases(), shape_cases(), range_cases(),
          index_cases(), config_cases(), tokenizer_cases(), encode_cases(), data_cases()})
        all.insert(all.end(), std::make_move_iterator(part.begin()), std::make_move_iterator(part.end()));
    return all;
}

}  // namespace malformed
