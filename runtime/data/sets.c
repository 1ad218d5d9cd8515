/* The table of data sets: a line each. MedMNIST's are those of table 2 of its paper (Yang et al.,
 * Scientific Data 10, 2023), in the size of 28x28. */
#include "sets.h"

#include <stddef.h>
#include <string.h>

#define NAMES(...) (const char *const[]){__VA_ARGS__}
#define PLACES(...) (const char *const[]){__VA_ARGS__, NULL}

/* ---- names of classes ---- */

#define DIGITS "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"
#define CAPITALS                                                                                   \
    "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P", "Q", "R", "S", \
        "T", "U", "V", "W", "X", "Y", "Z"
#define LETTERS                                                                                    \
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", \
        "t", "u", "v", "w", "x", "y", "z"

/* Of the other letters the small one looks like the capital. */
static const char *const merged[] = {DIGITS, CAPITALS, "a", "b", "d", "e", "f",
                                     "g",    "h",      "n", "q", "r", "t"};
static const char *const characters[] = {DIGITS, CAPITALS, LETTERS};
static const char *const letters[] = {LETTERS};

static const char *const organs[] = {"bladder",      "femur-left", "femur-right", "heart",
                                     "kidney-left",  "kidney-right", "liver",     "lung-left",
                                     "lung-right",   "pancreas",   "spleen"};

static const char *const cifar100[] = {
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup",
    "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house",
    "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy",
    "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal",
    "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar",
    "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman",
    "worm"};

/* ---- sets ---- */

#define EMNIST(name, classes, flags, names)                                                        \
    {name, "idx", {1, 28, 28}, classes, SET_TRANSPOSED | (flags),                                  \
     "get gzip.zip, EMNIST in the MNIST format, from "                                             \
     "https://www.nist.gov/itl/products-and-services/emnist-dataset and unpack it", names,         \
     "emnist", PLACES("EMNIST/raw", "raw", "gzip")}

#define MEDMNIST(name, channels, classes, names)                                                   \
    {name, "npz", {channels, 28, 28}, classes, 0,                                                  \
     "get " name ".npz from https://medmnist.com", names, "medmnist", NULL}

/* A format: the model file says shape and classes. */
#define FORMAT(name, get) {name, name, {0, 0, 0}, 0, 0, get, NULL, NULL, NULL}

const DataSet data_sets[] = {
    {"fashion-mnist", "idx", {1, 28, 28}, 10, 0,
     "install it with 'apt install dataset-fashion-mnist'",
     NAMES("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
           "Bag", "Ankle boot"), NULL, PLACES("FashionMNIST/raw", "raw")},
    {"mnist", "idx", {1, 28, 28}, 10, 0, NULL, NULL, NULL, PLACES("MNIST/raw", "raw")},
    {"kmnist", "idx", {1, 28, 28}, 10, 0,
     "get the four files of Kuzushiji-MNIST from http://codh.rois.ac.jp/kmnist/",
     NAMES("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"), NULL,
     PLACES("KMNIST/raw", "raw")},
    {"qmnist", "idx", {1, 28, 28}, 10, 0,
     "get qmnist-train-images-idx3-ubyte, qmnist-train-labels-idx2-int and the same of test from "
     "https://github.com/facebookresearch/qmnist", NULL, NULL, PLACES("QMNIST/raw", "raw")},
    EMNIST("emnist-balanced", 47, 0, merged),
    EMNIST("emnist-byclass", 62, 0, characters),
    EMNIST("emnist-bymerge", 47, 0, merged),
    EMNIST("emnist-digits", 10, 0, NULL),
    EMNIST("emnist-letters", 26, SET_FROM_ONE, letters),
    EMNIST("emnist-mnist", 10, 0, NULL),
    {"cifar10", "cifar", {3, 32, 32}, 10, 0,
     "get cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it",
     NAMES("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
           "truck"), NULL, PLACES("cifar-10-batches-bin")},
    {"cifar100", "cifar", {3, 32, 32}, 100, 0,
     "get cifar-100-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html and unpack it",
     cifar100, NULL, PLACES("cifar-100-binary")},
    {"svhn", "svhn", {3, 32, 32}, 10, SET_IS_FORMAT,
     "get train_32x32.mat and test_32x32.mat from http://ufldl.stanford.edu/housenumbers/", NULL,
     NULL, NULL},
    {"stl10", "stl10", {3, 96, 96}, 10, 0,
     "get stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10/ and unpack it",
     NAMES("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
     NULL, PLACES("stl10_binary")},
    MEDMNIST("pathmnist", 3, 9,
             NAMES("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle",
                   "normal colon mucosa", "cancer-associated stroma",
                   "colorectal adenocarcinoma epithelium")),
    {"chestmnist", "npz", {1, 28, 28}, 14, SET_SEVERAL_LABELS, NULL, NULL, "medmnist", NULL},
    MEDMNIST("dermamnist", 3, 7,
             NAMES("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma",
                   "benign keratosis-like lesions", "dermatofibroma", "melanoma",
                   "melanocytic nevi", "vascular lesions")),
    MEDMNIST("octmnist", 1, 4,
             NAMES("choroidal neovascularization", "diabetic macular edema", "drusen", "normal")),
    MEDMNIST("pneumoniamnist", 1, 2, NAMES("normal", "pneumonia")),
    MEDMNIST("retinamnist", 3, 5, NULL),
    MEDMNIST("breastmnist", 1, 2, NAMES("malignant", "normal, benign")),
    MEDMNIST("bloodmnist", 3, 8,
             NAMES("basophil", "eosinophil", "erythroblast",
                   "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)",
                   "lymphocyte", "monocyte", "neutrophil", "platelet")),
    MEDMNIST("tissuemnist", 1, 8,
             NAMES("Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule",
                   "Glomerular endothelial cells", "Interstitial endothelial cells", "Leukocytes",
                   "Podocytes", "Proximal Tubule Segments", "Thick Ascending Limb")),
    MEDMNIST("organamnist", 1, 11, organs),
    MEDMNIST("organcmnist", 1, 11, organs),
    MEDMNIST("organsmnist", 1, 11, organs),
    FORMAT("idx", NULL),
    FORMAT("cifar", "unpack cifar-10-binary.tar.gz or cifar-100-binary.tar.gz"),
    FORMAT("npz", "put an archive of NumPy arrays, x_train, y_train, x_test, y_test, into a "
                  "directory"),
    FORMAT("csv", "put train.csv and test.csv into one directory"),
    FORMAT("folder", "put the images into train/CLASS/ and test/CLASS/ of a directory"),
};

const int data_set_count = sizeof data_sets / sizeof *data_sets;

const DataSet *find_data_set(const char *name)
{
    for (int i = 0; i < data_set_count; i++)
        if (strcmp(data_sets[i].name, name) == 0)
            return &data_sets[i];
    return NULL;
}
