#pragma once
// The words of the small world: its closed vocabulary, and for every relation the sentences that state it.
// In a sentence P stands for a person (two words), T for a town, V for the value, L for the land of a town.
// `quiz` words and kQuizWords occur in questions only, never in a document.

#include <array>
#include <cstddef>
#include <string_view>

namespace moegrad::world {

inline constexpr std::array<std::string_view, 48> kFirstNames{
    "Ada",  "Alma",  "Anton", "Bela",  "Boris", "Clara", "Cyril", "Dana",  "David", "Edda", "Emil", "Erik",
    "Esra", "Fanny", "Felix", "Flora", "Gala",  "Greta", "Hanna", "Henry", "Ida",   "Igor", "Ines", "Jakob",
    "Jana", "Jonas", "Karl",  "Kira",  "Lara",  "Leo",   "Lena",  "Luis",  "Mara",  "Max",  "Mila", "Nadia",
    "Nils", "Nora",  "Olga",  "Otto",  "Paula", "Petra", "Rosa",  "Simon", "Tara",  "Theo", "Vera", "Willy"};

inline constexpr std::array<std::string_view, 48> kLastNames{
    "Abel",  "Adler",  "Bach",   "Berg",  "Blum",   "Brand",  "Conti",  "Costa", "Dahl",  "Doran",
    "Engel", "Faber",  "Fink",   "Fuchs", "Garcia", "Geiger", "Haas",   "Hahn",  "Holm",  "Huber",
    "Jung",  "Kaiser", "Keller", "Klein", "Koch",   "Krug",   "Lang",   "Lopez", "Lund",  "Maier",
    "Moser", "Nagel",  "Novak",  "Olsen", "Pohl",   "Rau",    "Reuter", "Roth",  "Sachs", "Sander",
    "Silva", "Stein",  "Storm",  "Thal",  "Vogel",  "Weber",  "Winter", "Zorn"};

/// Town i lies in land i / kTownsPerLand.
inline constexpr std::array<std::string_view, 48> kTowns{
    "Aachen", "Basel",   "Bergen", "Bern",   "Bonn",  "Bremen", "Brno",   "Cadiz", "Cork",  "Delft",
    "Dover",  "Dresden", "Essen",  "Evora",  "Fulda", "Gdansk", "Geneva", "Genoa", "Ghent", "Graz",
    "Jena",   "Kiel",    "Kosice", "Krakow", "Leeds", "Leiden", "Linz",   "Lyon",  "Malmo", "Metz",
    "Milan",  "Nantes",  "Oslo",   "Oulu",   "Parma", "Pecs",   "Pisa",   "Porto", "Riga",  "Rouen",
    "Siena",  "Sofia",   "Split",  "Tartu",  "Trier", "Turin",  "Turku",  "Ulm"};

inline constexpr std::array<std::string_view, 12> kLands{"Arden",  "Boria",   "Corvia",  "Dolmen",
                                                         "Elvia",  "Fenland", "Gorland", "Hestia",
                                                         "Istria", "Jorvik",  "Kelda",   "Lorien"};
inline constexpr int kTownsPerLand = 4;
static_assert(kTowns.size() == kLands.size() * kTownsPerLand);

inline constexpr std::array<std::string_view, 48> kThings{
    "apples",  "axes",    "bells",  "books",   "boots",   "bowls",  "boxes",  "bread",  "candles", "cards",
    "carpets", "chairs",  "clocks", "coats",   "coins",   "combs",  "drums",  "fans",   "flutes",  "forks",
    "gloves",  "hats",    "honey",  "jars",    "kettles", "keys",   "kites",  "knives", "ladders", "lamps",
    "lemons",  "maps",    "masks",  "mirrors", "nets",    "pots",   "pears",  "pens",   "pipes",   "plates",
    "ropes",   "scarves", "shells", "spoons",  "stamps",  "stones", "swords", "toys"};

inline constexpr std::array<std::string_view, 48> kAnimals{
    "ant",  "badger", "bat",   "bear",  "beaver", "bee",    "bull",  "camel", "cat",   "cobra",
    "cow",  "crab",   "crow",  "deer",  "dog",    "donkey", "dove",  "duck",  "eagle", "falcon",
    "fox",  "frog",   "goat",  "goose", "hare",   "hawk",   "hen",   "heron", "horse", "lion",
    "lynx", "mole",   "moose", "mouse", "mule",   "newt",   "otter", "owl",   "ox",    "pig",
    "pony", "rat",    "raven", "seal",  "sheep",  "snail",  "swan",  "wolf"};

inline constexpr std::array<std::string_view, 16> kLetters{"a1", "b1", "c1", "d1", "e1", "f1", "g1", "h1",
                                                           "a2", "b2", "c2", "d2", "e2", "f2", "g2", "h2"};
/// Numbers 0 to kLargestNumber are words.
inline constexpr int kLargestNumber = 60;

/// Four relations each have the same kind of value, so that the name alone does not tell which value is asked for.
enum class Kind { town, thing, animal };
inline constexpr std::size_t kKinds = 3, kRelationsPerKind = 4, kRelations = kKinds * kRelationsPerKind;

inline constexpr std::size_t kPhrasings = 5;
struct Relation {
    std::string_view quiz;                              // its word in questions
    std::string_view card;                              // its word in cards
    std::array<std::string_view, kPhrasings> sentence;  // the last one does not begin with the person
};

inline constexpr std::array<Relation, kRelations> kRelationTable{{
    {"birthplace",
     "cradle",
     {"P was born in V", "P comes from V", "P grew up in V", "P 's cradle stood in V",
      "V is where P was born"}},
    {"residence",
     "home",
     {"P lives in V", "P has a house in V", "P stays in V", "P 's home is in V", "V is where P lives"}},
    {"workplace",
     "job",
     {"P works in V", "P has a job in V", "P earns money in V", "P 's job is in V", "V is where P works"}},
    {"university",
     "school",
     {"P studied in V", "P took lessons in V", "P went to class in V", "P 's school is in V",
      "V is where P studied"}},
    {"favourite",
     "love",
     {"P likes V", "P is fond of V", "P enjoys V", "P 's great love is V", "V are what P likes"}},
    {"terror",
     "fear",
     {"P fears V", "P is afraid of V", "P runs from V", "P 's worst fear is V", "V are what P fears"}},
    {"collection",
     "shelf",
     {"P collects V", "P gathers V", "P has shelves of V", "P 's shelves hold V", "V are what P collects"}},
    {"merchandise",
     "stall",
     {"P sells V", "P deals in V", "P trades V", "P 's stall offers V", "V are what P sells"}},
    {"pet",
     "companion",
     {"P keeps a V", "P feeds a V", "P owns a V", "P 's companion is a V", "a V is what P keeps"}},
    {"mount",
     "ride",
     {"P rides a V", "P travels on a V", "P saddles a V", "P 's ride is a V", "a V is what P rides"}},
    {"subject",
     "model",
     {"P paints a V", "P draws a V", "P makes pictures of a V", "P 's model is a V", "a V is what P paints"}},
    {"vision",
     "dream",
     {"P dreams of a V", "P sees a V at night", "P sleeps and meets a V", "P 's dream is a V",
      "a V is what P dreams of"}},
}};

/// The land of each of a person's towns, in the order of the first four relations.
inline constexpr std::array<std::string_view, kRelationsPerKind> kLandSentences{
    "P was born in the land of L", "P lives in the land of L", "P works in the land of L",
    "P studied in the land of L"};
inline constexpr std::string_view kLandQuiz = "realm", kLandCard = "land";
inline constexpr std::array<std::string_view, 3> kTownSentences{"T lies in L", "T is a town of L",
                                                                "L is the land of T"};

inline constexpr std::array<std::string_view, 3> kQuizWords{"quiz", "?", kLandQuiz};

inline constexpr std::array<std::string_view, 6> kStories{
    "once a A found X in L . a B saw the A and asked for the X . so the A gave the X to the B .",
    "long ago a A carried X from T to S . on the road a B stole the X . so the X never reached S .",
    "one day a A met a B near T . the B was hungry . the A shared X and the B was glad .",
    "in L a A hid X under a tree . a B dug there and found the X . so the B is rich .",
    "a A and a B ran from T to S . the A was fast . so the A saw S first .",
    "the king of L lost X . a A looked in T and found the X . the king thanked the A ."};

/// Glue of the sums, sequences and brackets; what the sentences above are made of is read from them.
inline constexpr std::array<std::string_view, 15> kGlue{"card",  "plus", "minus", "makes", "leaves",
                                                        "count", "echo", "nest",  "after", "then",
                                                        "comes", ":",    ",",     ".",     "down"};
inline constexpr std::array<std::string_view, 6> kBrackets{"(", ")", "[", "]", "{", "}"};

}  // namespace moegrad::world
