#pragma once
// The sample browser: every question with its choices, what each arm chose and its log-likelihoods. The questions are
// data for the script; items.csv holds all of them.

#include <moegrad/report/page.hpp>

#include <map>

namespace moegrad::report {

/// Characters of question data that a page may hold.
inline constexpr std::size_t kItemBudget = 350000;

namespace detail {

inline const RunFolder* run_with_items(const Arm& arm) {
    return arm.first([](const RunFolder& run) { return !run.items.empty(); });
}

inline Json item_json(const Item& item) {
    Json::Array choices;
    for (const std::string& choice : item.choices) choices.emplace_back(choice);
    Json json = Json::object();
    json.add("id", item.id);
    json.add("domain", item.domain);
    json.add("level", item.level);
    json.add("question", item.question);
    json.add("choices", Json(std::move(choices)));
    json.add("answer", item.answer);
    return json;
}

/// What an arm did with one question: [chosen, log-likelihoods ..].
inline Json answer_json(const Item& item) {
    Json::Array all{Json(item.chosen)};
    for (double value : item.loglikelihood) all.emplace_back(rounded(value, 4));
    return Json(std::move(all));
}

inline Csv items_csv(const ReportData& data) {
    Csv csv({"arm", "run", "id", "domain", "level", "answer", "chosen", "correct", "nll", "loglikelihoods"});
    for (const Arm& arm : data.arms) {
        for (const RunFolder& run : arm.runs) {
            for (const Item& item : run.items) {
                csv.add(arm.name)
                    .add(run.name)
                    .add(item.id)
                    .add(item.domain)
                    .add(item.level)
                    .add(item.answer);
                csv.add(item.chosen)
                    .add(item.correct ? "yes" : "no")
                    .add(item.nll)
                    .add(item.loglikelihood)
                    .end();
            }
        }
    }
    return csv;
}

struct ItemList {
    std::vector<const Item*> items;  // of the first arm that has them; others are found by id
    std::size_t shown = 0;
};

inline ItemList add_item_data(Page& page, const ReportData& data) {
    ItemList list;
    std::vector<std::map<std::string, const Item*>> by_id;
    for (const Arm& arm : data.arms) {
        const RunFolder* run = run_with_items(arm);
        by_id.emplace_back();
        if (!run) continue;
        const bool first = list.items.empty();
        for (const Item& item : run->items) {
            by_id.back()[item.id] = &item;
            if (first) list.items.push_back(&item);
        }
    }
    Json::Array items;
    std::vector<Json::Array> answers(data.arms.size());
    std::size_t size = 0;
    for (; list.shown < list.items.size(); ++list.shown) {
        const Item& item = *list.items[list.shown];
        size += 90 + item.question.size() + item.id.size() + 8 * item.loglikelihood.size() * data.arms.size();
        for (const std::string& choice : item.choices) size += choice.size() + 3;
        if (size > kItemBudget) break;
        items.push_back(item_json(item));
        for (std::size_t a = 0; a < data.arms.size(); ++a) {
            const auto found = by_id[a].find(item.id);
            answers[a].push_back(found == by_id[a].end() ? Json() : answer_json(*found->second));
        }
    }
    Json::Array arms;
    for (std::size_t a = 0; a < data.arms.size(); ++a) {
        Json one = Json::object();
        one.add("name", data.arms[a].name);
        one.add("kind", arm_class(data, a));
        one.add("answers", Json(std::move(answers[a])));
        arms.push_back(std::move(one));
    }
    Json json = Json::object();
    json.add("items", Json(std::move(items)));
    json.add("arms", Json(std::move(arms)));
    page.data.add("questions", std::move(json));
    return list;
}

}  // namespace detail

inline void add_items_section(Page& page, const ReportData& data) {
    const bool any = std::any_of(data.arms.begin(), data.arms.end(),
                                 [](const Arm& arm) { return detail::run_with_items(arm) != nullptr; });
    if (!any) {
        page.add("questions", "Questions",
                 absent("No eval/items.jsonl in the run folders: no questions to browse."));
        return;
    }
    const detail::ItemList list = detail::add_item_data(page, data);
    std::string html =
        "<form class=\"filters\" id=\"filters\"><label>find <input type=\"search\" name=\"find\" "
        "placeholder=\"a word\"></label>"
        "<label>domain <select name=\"domain\"><option value=\"\">all</option></select></label>"
        "<label>outcome <select name=\"outcome\"><option value=\"\">all</option>"
        "<option value=\"wrong\">some arm wrong</option><option value=\"right\">all right</option>"
        "<option value=\"none\">all wrong</option><option value=\"split\">arms "
        "disagree</option></select></label>"
        "<span class=\"pager\"><button type=\"button\" data-page=\"-1\">Previous</button><output "
        "id=\"count\"></output><button type=\"button\" data-page=\"1\">Next</button></span></form>\n"
        "<div id=\"items\"><noscript><p class=\"absent\">Browsing needs scripts; items.csv holds every "
        "question.</p></noscript></div>\n";
    std::string note = about(data, adapters(data) + ", first seed", question_split(data)) +
                       " Numbers: log-likelihood of a choice, nats; \xE2\x97\x8F is what the arm chose.";
    if (list.shown < list.items.size())
        note +=
            moegrad::format(" The first {} of {}; the others are in the CSV.", list.shown, list.items.size());
    html += "<p class=\"note\">" + escape(note) + " <a href=\"" +
            escape(page.file("items.csv", detail::items_csv(data))) + "\">CSV</a></p>\n";
    page.add("questions", "Questions", html);
}

}  // namespace moegrad::report
