"""The texts of the report."""

TITLE = "Prompt geometry: where soft prompts lie in embedding space"
LEAD = (
    "The tables and figures of Are soft prompts actually not interpretable? (Bakalova), computed "
    "from prompts trained here and compared with the printed numbers. Those are of GPT2-XL, and need "
    "not agree for another model or fewer epochs. The authors published no prompts."
)
CAPTIONS = {
    "claims": (
        "The paper's claims, for each task and over tasks. Each is a number that is above zero "
        "if the claim is right: over pairs of different runs (fixed), and averaged as in the "
        "authors' code (paper code). holds: the whole 95 % interval (over words, or over "
        "tasks) is above zero; for claims about training, also that of the difference to the "
        "same prompts before training. size is this difference divided by the null."
    ),
    "published_as_compared": (
        "Printed numbers, and the same without what they count twice: pairs of a "
        "vector with itself, and initial words. Without --paper-code, the computed "
        "numbers are compared with the latter."
    ),
    "word_or_task": (
        "Prompts with the same initial word start from the same vectors. How long do "
        "they stay closer to each other than prompts of the same task?"
    ),
    "kinds_of_pairs": (
        "Mean cosine distance of two vectors, by what they have in common. Tables 1 "
        "and 2 both include pairs of vectors of one run, which share word and task. "
        "For the trained vectors, and for the steps (trained vector minus initial "
        "vector)."
    ),
    "factors": (
        "Are runs of the same word (task) closer to each other than runs whose words (tasks) "
        "were shuffled within each task (word)? For the trained vectors, and for the steps."
    ),
    "accuracy": "Test accuracy (the greedy continuation starts with the label) and loss of the last prompts: means "
    "over initial words, with the lowest and the highest; untrained: accuracy of the prompts before training; frozen: "
    "of the model without a prompt.",
    "figures_1_and_2": "Scores on the test split along training.",
    "where_prompts_move": "How far prompts move during training; trajectories.csv has every vector.",
    "figure_3": "Figure 3: average cosine distance between the positions of a run, between tasks at one word and "
    "position, between words at one task and position.",
    "figure_5": "Figure 5: the same with L2 distances.",
    "figure_4_tsne_by_word": "Figure 4, left: all trained vectors, t-SNE, coloured by initial word. Hover for task, "
    "word, position and nearest tokens.",
    "figure_4_tsne_by_task": "Figure 4, right: the same picture coloured by task.",
    "pca_by_word": "The same vectors in the two directions of largest variance.",
    "pca_by_task": "The same picture coloured by task.",
    "umap_by_word": "The same vectors by UMAP.",
    "umap_by_task": "The same picture coloured by task.",
    "projections": "Trustworthiness of each picture: how far its neighbours are neighbours in the full space; 1 = all, "
    "about 0.5 = a random picture.",
    "clusters": (
        "Silhouette (cosine distance), and its mean with shuffled labels: 1 = tight "
        "clusters, 0 = none. Vectors of one run are similar from the start, so that "
        "shuffling single vectors is too weak a null for words; the table of factors "
        "shuffles whole runs."
    ),
    "correlation_summary": (
        "Do distances between the vectors of one word agree with those of another? "
        "naive_p treats the distances as independent; mantel_p permutes vectors, "
        "within_position_p permutes them only within positions. correlations.csv has "
        "every pair of words."
    ),
    "neighbourhoods": (
        "Section 3.2.1: mean numbers of neighbours within three values of epsilon: one "
        "chosen for tokens, one chosen for prompts, and the paper's 0.7. expected: the "
        "number if neighbours were drawn at random from all prompts."
    ),
    "closest": "Section 3.2.3: mean cosine distance to the closest other vector.",
    "task_neighbours": "How many vectors of each task are neighbours of vectors of each other task.",
    "norms": "L2 norms, and how many directions the vectors use (effective rank).",
    "wayward": (
        "Prompts that were kept close to an unrelated text during training (Khashabi et al. "
        "2022): do they solve their tasks all the same? at_text: share of positions whose "
        "nearest token is the text's."
    ),
    "reading_summary": (
        "Readings of the prompt and of random, untrained and wayward ones. n_beat of "
        "n prompts have p <= .05 (not corrected); 5 % would by chance. Patchscopes: "
        "subject = share of the words that a description of the task would use; "
        "answers = does it name a label of the task; control = the same for a prompt "
        "made of the tokens of real labels; unpatched = for placeholders over which "
        "nothing was written."
    ),
    "description_match": "Patchscopes: do descriptions name the subject (the answers) of their own prompt's task "
    "(matched) more than those of the other tasks (mismatched)?",
    "best_descriptions": (
        "What the model writes for each prompt, for its wayward and untrained ones "
        "and for a random one: for each, the description (of all pairs of layers) "
        "that names most of the task, and how often the model wrote it. "
        "descriptions.csv has all descriptions."
    ),
}
"""Name of a table or figure -> what it shows."""

HEADINGS = {
    "Word or task": "Same word or same task, along training",
    "Factors": "Word and task as factors",
    "Figure 4 tsne by word": "Figure 4: t-SNE by word",
    "Figure 4 tsne by task": "Figure 4: t-SNE by task",
    "Pca by word": "PCA by word",
    "Pca by task": "PCA by task",
    "Umap by word": "UMAP by word",
    "Umap by task": "UMAP by task",
    "Projections": "How far to trust the pictures",
    "Clusters": "Silhouettes",
    "Correlation summary": "Do the words' geometries agree?",
    "Neighbourhoods": "Neighbours of prompts and tokens",
    "Closest": "Distance to the closest",
    "Task neighbours": "Table 3 as a figure",
    "Norms": "Norms and directions",
    "Wayward": "Wayward prompts",
    "Reading summary": "Readings against their nulls",
    "Description match": "Do descriptions fit their own task?",
    "Best descriptions": "Descriptions",
    "Table text": "Numbers of sections 3.1 and 3.2",
    "Table data": "Sizes of the data",
}
"""Names of sections as `Results.report` makes them -> what they say."""
